// Tests which tensors of a model's files are used, and which are refused.
#include <functional>
#include <map>
#include <memory>
#include <regex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/sharding/weight_plan.h"
#include "model/testing/gguf_writer.h"
#include "model/testing/hf_folder.h"
#include "model/testing/tiny_hf_model.h"
#include "model/testing/tiny_model.h"

namespace phalanx {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::unique_ptr<Checkpoint> MustOpen(const std::string& path) {
  auto checkpoint = Checkpoint::Open(path);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  return checkpoint.ok() ? *std::move(checkpoint) : nullptr;
}

// For a model that is not cut into ranks.
absl::StatusOr<WeightPlan> PlanWhole(const Checkpoint& checkpoint) {
  return PlanWeights(checkpoint, checkpoint.spec(), *ShardModel(checkpoint.spec(), 0, 1));
}

// Writes the folder again with `replace` applied to the tensors of its only file.
std::string WithTensors(
    absl::string_view name, std::map<std::string, std::string> files,
    const std::function<void(const std::vector<TensorView>&, SafetensorsWriter&)>& write) {
  const auto source = SafetensorsFile::Open(WriteTempFolder(absl::StrCat(name, "-source"), files) +
                                            "/model.safetensors");
  EXPECT_TRUE(source.ok()) << source.status();
  SafetensorsWriter writer;
  write({(*source)->tensors().begin(), (*source)->tensors().end()}, writer);
  files["model.safetensors"] = writer.Finish();
  return WriteTempFolder(name, files);
}

void Copy(const TensorView& tensor, const std::string& name, SafetensorsWriter& writer) {
  const absl::string_view bytes(reinterpret_cast<const char*>(tensor.data.data()),
                                tensor.data.size());
  writer.AddTensor(name, "F32",
                   {static_cast<uint64_t>(tensor.rows), static_cast<uint64_t>(tensor.cols)}, bytes);
}

// The configuration says that the embedding is the output matrix too.
std::map<std::string, std::string> TiedConfig(std::map<std::string, std::string> files) {
  std::string& config = files["config.json"];
  const std::string untied = R"("tie_word_embeddings": false)";
  const size_t at = config.find(untied);
  EXPECT_NE(at, std::string::npos) << config;
  config.replace(at, untied.size(), R"("tie_word_embeddings": true)");
  return files;
}

TEST(StoredTensorsTest, AnOutputMatrixThatDiffersIsUsedWhateverTheConfigurationSays) {
  const auto checkpoint =
      MustOpen(WriteTempFolder("own-head", TiedConfig(TinyHfModel({.tied_embeddings = false}))));
  ASSERT_NE(checkpoint, nullptr);
  EXPECT_FALSE(checkpoint->spec().tied_embeddings);
  const auto plan = PlanWhole(*checkpoint);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->output.tensor, checkpoint->FindTensor("lm_head.weight"));
}

TEST(StoredTensorsTest, AnOutputMatrixThatIsTheEmbeddingAgainIsNotLoadedTwice) {
  const auto copy_head = [](const std::vector<TensorView>& tensors, SafetensorsWriter& writer) {
    for (const TensorView& tensor : tensors) {
      Copy(tensor, tensor.name, writer);
      if (tensor.name == "model.embed_tokens.weight") Copy(tensor, "lm_head.weight", writer);
    }
  };
  auto files = TinyHfModel({});
  for (const char* says : {"true", "false"}) {
    std::string& config = files["config.json"];
    config = std::regex_replace(config, std::regex(R"("tie_word_embeddings": \w+)"),
                                absl::StrCat(R"("tie_word_embeddings": )", says));
    const auto checkpoint = MustOpen(WithTensors("same-head", files, copy_head));
    ASSERT_NE(checkpoint, nullptr);
    EXPECT_TRUE(checkpoint->spec().tied_embeddings);
    const auto plan = PlanWhole(*checkpoint);
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ(plan->output.tensor, nullptr);
  }
}

TEST(StoredTensorsTest, AnOutputMatrixOfAnotherShapeIsRefused) {
  const auto cut_head = [](const std::vector<TensorView>& tensors, SafetensorsWriter& writer) {
    for (const TensorView& tensor : tensors) Copy(tensor, tensor.name, writer);
    TensorView head = tensors[0];
    head.rows -= 1;
    head.data.remove_suffix(head.cols * sizeof(float));
    Copy(head, "lm_head.weight", writer);
  };
  const auto checkpoint = MustOpen(WithTensors("cut-head", TinyHfModel({}), cut_head));
  ASSERT_NE(checkpoint, nullptr);
  const auto plan = PlanWhole(*checkpoint);
  EXPECT_THAT(std::string(plan.status().message()), HasSubstr("tensor lm_head.weight: 271 rows"));
}

TEST(StoredTensorsTest, AGgufFilesOutputMatrixIsTiedOnlyIfItIsTheEmbeddingAgain) {
  const auto file = GgufFile::Open(WriteTinyModel("tied.gguf"));
  ASSERT_TRUE(file.ok()) << file.status();
  const TensorView& embedding = *(*file)->FindTensor("token_embd.weight");
  std::string bytes(reinterpret_cast<const char*>(embedding.data.data()), embedding.data.size());
  for (const bool same : {true, false}) {
    GgufWriter writer = TinyModel({});
    bytes.back() = static_cast<char>(bytes.back() + (same ? 0 : 1));
    writer.AddTensor("output.weight", embedding.type,
                     {static_cast<uint64_t>(embedding.cols), static_cast<uint64_t>(embedding.rows)},
                     bytes);
    const auto checkpoint = MustOpen(writer.WriteToTemp("head.gguf"));
    ASSERT_NE(checkpoint, nullptr);
    EXPECT_EQ(checkpoint->spec().tied_embeddings, same);
    const auto plan = PlanWhole(*checkpoint);
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ(plan->output.tensor != nullptr, !same);
  }
}

// Tensors that transformers leaves out too may be there. All others are refused by name.
TEST(StoredTensorsTest, TensorsThatNoLayerHasAreRefused) {
  const auto read = [](const std::string& name) {
    const auto add = [&](const std::vector<TensorView>& tensors, SafetensorsWriter& writer) {
      for (const TensorView& tensor : tensors) Copy(tensor, tensor.name, writer);
      writer.AddF32(name, {8}, std::vector<float>(8));
    };
    const auto checkpoint = MustOpen(WithTensors("extra", TinyHfModel({}), add));
    return PlanWhole(*checkpoint).status();
  };
  EXPECT_EQ(read("model.layers.0.self_attn.rotary_emb.inv_freq"), absl::OkStatus());
  for (const char* name :
       {"lm_head.bias", "model.layers.0.self_attn.q_proj.bias", "model.layers.0.mlp.up_proj.bias",
        "model.layers.2.input_layernorm.weight", "model.layers.0.self_attn.q_norm.weight",
        "model.norm.bias", "model.layers.0.self_attn.rotary_emb.inv_freq.scale", "score.weight"}) {
    EXPECT_THAT(std::string(read(name).message()),
                AllOf(HasSubstr(name), HasSubstr("is not supported")));
  }
}

}  // namespace
}  // namespace phalanx
