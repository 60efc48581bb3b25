#include "model/spec.h"

#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/testing/tiny_model.h"

namespace phalanx {
namespace {

using testing::AllOf;
using testing::HasSubstr;

absl::StatusOr<ModelSpec> Read(const std::string& path) {
  const auto file = GgufFile::Open(path);
  if (!file.ok()) return file.status();
  return ReadModelSpec(**file);
}

TEST(SpecTest, ReadsTheTinyModel) {
  const auto spec = Read(WriteTinyModel("Tiny-3M-Chat.Q4_1.gguf"));
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->name, "Tiny-3M-Chat");
  EXPECT_EQ(spec->architecture, "llama");
  EXPECT_EQ(spec->num_layers, 2);
  EXPECT_EQ(spec->hidden, 96);
  EXPECT_EQ(spec->num_q_heads, 6);
  EXPECT_EQ(spec->num_kv_heads, 3);
  EXPECT_EQ(spec->head_dim, 32);
  EXPECT_EQ(spec->rotary_dim, 32);
  EXPECT_EQ(spec->ffn, 160);
  EXPECT_EQ(spec->vocab, kTinyVocab);
  EXPECT_EQ(spec->context_tokens, 256);
  EXPECT_FLOAT_EQ(spec->rms_norm_eps, 1e-5f);
  EXPECT_FLOAT_EQ(spec->rope.theta, 10000.0f);
  EXPECT_TRUE(spec->tied_embeddings);
  EXPECT_TRUE(spec->interleaved_qk_rows);
}

TEST(SpecTest, AnOutputMatrixOfItsOwnUntiesTheEmbeddings) {
  const auto spec = Read(WriteTinyModel("untied.gguf", {.untied_output = true}));
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_FALSE(spec->tied_embeddings);
}

TEST(SpecTest, NameIsTheBaseNameWithoutQuantization) {
  const struct {
    const char* file;
    const char* name;
  } cases[] = {{"a.gguf", "a"},
               {"Model-1B-Q4_K_M.gguf", "Model-1B"},
               {"model.f16.gguf", "model"},
               {"model-iq3_xs.gguf", "model"},
               {"Model-Chat.gguf", "Model-Chat"},
               {"v1.5.BF16.gguf", "v1.5"}};
  for (const auto& c : cases) {
    const auto spec = Read(WriteTinyModel(c.file));
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_EQ(spec->name, c.name);
  }
}

// Metadata of a good file, with some keys replaced or left out.
class Metadata {
 public:
  void U32(const std::string& key, uint32_t value) { values_[key] = {4, GgufWriter::Bytes(value)}; }
  void F32(const std::string& key, float value) { values_[key] = {6, GgufWriter::Bytes(value)}; }
  void Text(const std::string& key, const std::string& value) {
    values_[key] = {8, GgufWriter::String(value)};
  }
  void Drop(const std::string& key) { values_.erase(key); }

  Metadata() {
    Text("general.architecture", "llama");
    U32("llama.block_count", 1);
    U32("llama.context_length", 64);
    U32("llama.embedding_length", 8);
    U32("llama.feed_forward_length", 32);
    U32("llama.attention.head_count", 4);
    U32("llama.attention.head_count_kv", 2);
    F32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  }

  GgufWriter File() const {
    GgufWriter writer;
    for (const auto& [key, value] : values_) writer.AddPair(key, value.first, value.second);
    writer.AddStrings("tokenizer.ggml.tokens", {"a", "b", "c"});
    writer.AddTensor("token_embd.weight", TensorType::kF32, {8, 3}, std::string(96, '\0'));
    return writer;
  }

 private:
  std::map<std::string, std::pair<uint32_t, std::string>> values_;
};

TEST(SpecTest, OptionalKeysHaveLlamasDefaults) {
  Metadata metadata;
  metadata.Drop("llama.attention.head_count_kv");
  const auto spec = Read(metadata.File().WriteToTemp("defaults.gguf"));
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->num_kv_heads, 4);
  EXPECT_EQ(spec->head_dim, 2);
  EXPECT_EQ(spec->rotary_dim, 2);
  EXPECT_EQ(spec->rope.theta, 10000.0f);
}

struct BadKey {
  std::string what;
  std::function<void(Metadata&)> spoil;
  std::string key;
  absl::StatusCode code = absl::StatusCode::kDataLoss;
};

class BadSpecTest : public testing::TestWithParam<BadKey> {};

TEST_P(BadSpecTest, IsRefusedNamingFileAndKey) {
  Metadata metadata;
  GetParam().spoil(metadata);
  const absl::Status status = Read(metadata.File().WriteToTemp("bad.gguf")).status();
  EXPECT_EQ(status.code(), GetParam().code) << status;
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("bad.gguf"), HasSubstr(GetParam().key)));
}

constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;

INSTANTIATE_TEST_SUITE_P(
    All, BadSpecTest,
    testing::Values(
        BadKey{"OtherArchitecture", [](Metadata& m) { m.Text("general.architecture", "mamba"); },
               "mamba is not supported; these are: llama", kUnimplemented},
        BadKey{"NoArchitecture", [](Metadata& m) { m.Drop("general.architecture"); },
               "general.architecture"},
        BadKey{"NoLayers", [](Metadata& m) { m.U32("llama.block_count", 0); }, "llama.block_count"},
        BadKey{"HiddenMissing", [](Metadata& m) { m.Drop("llama.embedding_length"); },
               "llama.embedding_length: missing"},
        BadKey{"FfnOfText", [](Metadata& m) { m.Text("llama.feed_forward_length", "32"); },
               "llama.feed_forward_length"},
        BadKey{"HugeContext", [](Metadata& m) { m.U32("llama.context_length", 0xffffffff); },
               "llama.context_length"},
        BadKey{"KvHeadsDoNotDivide", [](Metadata& m) { m.U32("llama.attention.head_count_kv", 3); },
               "llama.attention.head_count_kv"},
        BadKey{"HeadsDoNotDivide",
               [](Metadata& m) {
                 m.U32("llama.attention.head_count", 3);
                 m.U32("llama.attention.head_count_kv", 3);
               },
               "llama.attention.head_count"},
        BadKey{"OddHead",
               [](Metadata& m) {
                 m.U32("llama.attention.key_length", 3);
                 m.U32("llama.attention.value_length", 3);
               },
               "llama.attention.key_length"},
        BadKey{"ValuesOfOtherLength", [](Metadata& m) { m.U32("llama.attention.value_length", 4); },
               "llama.attention.value_length", kUnimplemented},
        BadKey{"PartialRotation", [](Metadata& m) { m.U32("llama.rope.dimension_count", 1); },
               "llama.rope.dimension_count", kUnimplemented},
        BadKey{"EpsilonOfZero",
               [](Metadata& m) { m.F32("llama.attention.layer_norm_rms_epsilon", 0); },
               "llama.attention.layer_norm_rms_epsilon"},
        BadKey{"NoEpsilon", [](Metadata& m) { m.Drop("llama.attention.layer_norm_rms_epsilon"); },
               "llama.attention.layer_norm_rms_epsilon: missing"},
        BadKey{"ThetaThatIsNoNumber", [](Metadata& m) { m.F32("llama.rope.freq_base", NAN); },
               "llama.rope.freq_base"},
        BadKey{"OtherVocabulary", [](Metadata& m) { m.U32("llama.vocab_size", 4); },
               "llama.vocab_size"},
        BadKey{"EmbeddingOfOtherWidth", [](Metadata& m) { m.U32("llama.embedding_length", 16); },
               "token_embd.weight"},
        BadKey{"Experts", [](Metadata& m) { m.U32("llama.expert_count", 8); }, "llama.expert_count",
               kUnimplemented},
        BadKey{"ScaledLogits", [](Metadata& m) { m.F32("llama.logit_scale", 0.5f); },
               "llama.logit_scale", kUnimplemented},
        BadKey{"ScaledRotation", [](Metadata& m) { m.Text("llama.rope.scaling.type", "yarn"); },
               "llama.rope.scaling.type", kUnimplemented},
        BadKey{"RotationFactor", [](Metadata& m) { m.F32("llama.rope.scaling.factor", 2); },
               "llama.rope.scaling.factor", kUnimplemented}),
    [](const auto& info) { return info.param.what; });

TEST(SpecTest, RotaryFrequenciesInATensorAreRefused) {
  GgufWriter writer = TinyModel({});
  writer.AddTensor("rope_freqs.weight", TensorType::kF32, {16}, std::string(64, '\0'));
  const absl::Status status = Read(writer.WriteToTemp("freqs.gguf")).status();
  EXPECT_EQ(status.code(), kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("rope_freqs.weight"));
}

TEST(SpecTest, TokensMustBeAsManyAsEmbeddings) {
  GgufWriter writer;
  writer.AddString("general.architecture", "llama");
  for (const char* key : {"block_count", "context_length", "attention.head_count"}) {
    writer.AddU32(std::string("llama.") + key, 1);
  }
  writer.AddU32("llama.embedding_length", 2);
  writer.AddU32("llama.feed_forward_length", 32);
  writer.AddF32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  writer.AddStrings("tokenizer.ggml.tokens", {"a", "b"});
  writer.AddTensor("token_embd.weight", TensorType::kF32, {2, 3}, std::string(24, '\0'));
  const absl::Status status = Read(writer.WriteToTemp("tokens.gguf")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tokenizer.ggml.tokens: 2 tokens"));
}

}  // namespace
}  // namespace phalanx
