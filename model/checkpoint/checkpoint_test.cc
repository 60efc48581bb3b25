#include "model/checkpoint/checkpoint.h"

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/testing/gguf_writer.h"
#include "model/testing/hf_folder.h"
#include "model/testing/tiny_hf_model.h"
#include "model/testing/tiny_model.h"

namespace phalanx {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::unique_ptr<Checkpoint> MustOpen(const std::string& path) {
  auto checkpoint = Checkpoint::Open(path);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  return checkpoint.ok() ? *std::move(checkpoint) : nullptr;
}

TEST(CheckpointTest, AGgufFileIsAModel) {
  const auto checkpoint = MustOpen(WriteTinyModel("Tiny-Q4_1.gguf"));
  ASSERT_NE(checkpoint, nullptr);
  EXPECT_EQ(checkpoint->spec().name, "Tiny");
  EXPECT_EQ(checkpoint->spec().tensor_naming, TensorNaming::kGguf);
  EXPECT_NE(checkpoint->FindTensor("token_embd.weight"), nullptr);
  EXPECT_TRUE(checkpoint->ReadTokenizer().ok());
}

TEST(CheckpointTest, AFolderOfEachArchitectureIsAModel) {
  for (const char* architecture : {"llama", "phi3", "qwen2"}) {
    const auto checkpoint = MustOpen(
        WriteTinyHfModel("Tiny-Chat", {.architecture = architecture, .tied_embeddings = false}));
    ASSERT_NE(checkpoint, nullptr);
    const ModelSpec& spec = checkpoint->spec();
    EXPECT_EQ(spec.name, "Tiny-Chat");
    EXPECT_EQ(spec.architecture, architecture);
    EXPECT_EQ(spec.tensor_naming, TensorNaming::kHuggingFace);
    EXPECT_EQ(checkpoint->FindTensor("model.layers.1.self_attn.q_proj.bias") != nullptr,
              spec.qkv_bias);
    const TensorView* const fused =
        checkpoint->FindTensor("model.layers.0.mlp.gate_up_proj.weight");
    EXPECT_EQ(fused != nullptr, spec.fused_projections);
    const TensorView* const head = checkpoint->FindTensor("lm_head.weight");
    ASSERT_NE(head, nullptr);
    EXPECT_EQ(head->rows, spec.vocab);
    EXPECT_EQ(head->cols, spec.hidden);
    EXPECT_EQ(checkpoint->FindTensor("lm_head.bias"), nullptr);
  }
}

TEST(CheckpointTest, TheNameComesFromThePathAndTheStoredOneFromTheFiles) {
  const std::map<std::string, std::string> files = TinyHfModel({});
  std::map<std::string, std::string> snapshot;
  for (const auto& [name, bytes] : files) snapshot["snapshots/0e3b1e2d/" + name] = bytes;
  std::string& config = snapshot["snapshots/0e3b1e2d/config.json"];
  config.insert(config.find('{') + 1, R"("_name_or_path": "org/Phi-4-mini-reasoning",)");
  const std::string cache = WriteTempFolder("models--org--Tiny-Chat", snapshot);
  const auto checkpoint = MustOpen(cache + "/snapshots/0e3b1e2d/");
  ASSERT_NE(checkpoint, nullptr);
  EXPECT_EQ(checkpoint->spec().name, "Tiny-Chat");
  EXPECT_EQ(checkpoint->stored_name(), "org/Phi-4-mini-reasoning");
  EXPECT_EQ(MustOpen(WriteTinyHfModel("nameless"))->stored_name(), "");
}

TEST(CheckpointTest, LongRopeComesWithItsListsAndBorder) {
  const auto checkpoint =
      MustOpen(WriteTinyHfModel("long", {.architecture = "phi3", .original_context_tokens = 32}));
  ASSERT_NE(checkpoint, nullptr);
  EXPECT_EQ(checkpoint->spec().rotary_dim, 12);
  EXPECT_EQ(checkpoint->spec().rope.long_factors.size(), 6u);
  EXPECT_EQ(checkpoint->spec().rope.original_context_tokens, 32);
}

TEST(CheckpointTest, ShardedWeightsAreOneModel) {
  const auto whole = MustOpen(WriteTinyHfModel("whole"));
  const auto sharded = MustOpen(WriteTinyHfModel("sharded", {.num_files = 2}));
  ASSERT_NE(whole, nullptr);
  ASSERT_NE(sharded, nullptr);
  ASSERT_EQ(sharded->tensors().size(), whole->tensors().size());
  for (const TensorView& tensor : whole->tensors()) {
    const TensorView* const other = sharded->FindTensor(tensor.name);
    ASSERT_NE(other, nullptr) << tensor.name;
    EXPECT_TRUE(other->data == tensor.data) << tensor.name;
  }
  sharded->DropPages();
}

TEST(CheckpointTest, DefaultsComeFromGenerationConfigAndEosFromAllFiles) {
  const auto checkpoint = MustOpen(WriteTinyHfModel("defaults"));
  ASSERT_NE(checkpoint, nullptr);
  EXPECT_EQ(checkpoint->generation_defaults().sampling.top_k, 20);
  EXPECT_THAT(checkpoint->generation_defaults().eos_token_ids, ElementsAre(0, 2));
  std::map<std::string, std::string> files = TinyHfModel({});
  files.erase("generation_config.json");
  const auto plain = MustOpen(WriteTempFolder("plain", files));
  ASSERT_NE(plain, nullptr);
  EXPECT_EQ(plain->generation_defaults().sampling.temperature, 0.0f);
  EXPECT_THAT(plain->generation_defaults().eos_token_ids, ElementsAre(2));
}

// The tiny model's tokenizer: 0 to 2 are control tokens, 2 ends turns.
TEST(CheckpointTest, EndTokensAreControlTokensWhateverTheFileStores) {
  for (const char type : {1, 4}) {
    std::string file = TinyModel({}).Finish();
    const std::string key = "tokenizer.ggml.token_type";
    // Behind the key: type, element type and count; then id 2.
    const size_t at = file.find(key) + key.size() + 4 + 4 + 8 + 2 * 4;
    ASSERT_EQ(file[at], 3);
    file[at] = type;
    const auto checkpoint = MustOpen(WriteTempFile("kinds.gguf", file));
    ASSERT_NE(checkpoint, nullptr);
    const auto assets = checkpoint->ReadTokenizer();
    ASSERT_TRUE(assets.ok()) << assets.status();
    EXPECT_EQ(assets->token_kinds[2], TokenKind::kControl);
    EXPECT_THAT(assets->promoted_token_ids, ElementsAre(2));
  }
}

TEST(CheckpointTest, AnEndThatIsOrdinaryTextStaysTextForTheTokenizer) {
  std::map<std::string, std::string> files = TinyHfModel({});
  const auto tokenizer_of = [&](int eos) {
    files["generation_config.json"] = "{\"eos_token_id\": " + std::to_string(eos) + "}";
    const auto checkpoint = MustOpen(WriteTempFolder("ordinary", files));
    return checkpoint->ReadTokenizer().value();
  };
  // A token that is a byte, and one that a merge makes.
  const int byte = kTinyFirstByte;
  const int merged = kTinyFirstByte + 256;
  for (const int id : {byte, merged}) {
    const TokenizerAssets assets = tokenizer_of(id);
    EXPECT_THAT(assets.eos_token_ids, testing::Contains(id));
    EXPECT_EQ(assets.token_kinds[id], TokenKind::kNormal);
    EXPECT_THAT(assets.promoted_token_ids, testing::IsEmpty());
  }
}

TEST(CheckpointTest, FingerprintIsOverHeadersAndEverySmallFile) {
  const std::map<std::string, std::string> files = TinyHfModel({});
  const auto fingerprint = [](const std::map<std::string, std::string>& changed) {
    const auto checkpoint = MustOpen(WriteTempFolder("fingerprint", changed));
    return checkpoint == nullptr ? "" : checkpoint->fingerprint();
  };
  const std::string base = fingerprint(files);
  EXPECT_THAT(base, testing::MatchesRegex("[0-9a-f]{16}"));
  EXPECT_EQ(fingerprint(files), base);
  for (const char* name :
       {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
        "special_tokens_map.json", "chat_template.jinja", "additional_chat_templates/rag.jinja"}) {
    std::map<std::string, std::string> changed = files;
    changed[name] += "\n";
    EXPECT_NE(fingerprint(changed), base) << name;
  }
  EXPECT_NE(fingerprint(TinyHfModel({.num_files = 2})), base);
  std::map<std::string, std::string> unread = files;
  unread["README.md"] = "hello";
  EXPECT_EQ(fingerprint(unread), base);
}

TEST(CheckpointTest, AFileInsideAFolderIsRefusedWithAHint) {
  const std::string folder = WriteTinyHfModel("inside");
  for (const char* name : {"config.json", "model.safetensors"}) {
    const absl::Status status = Checkpoint::Open(folder + "/" + name).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(name), HasSubstr("the folder")));
  }
}

TEST(CheckpointTest, WhatIsMissingIsNamed) {
  EXPECT_EQ(Checkpoint::Open("/nonexistent").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Checkpoint::Open("").status(), absl::NotFoundError("the path of the model is empty"));
  for (const char* name : {"config.json", "model.safetensors"}) {
    std::map<std::string, std::string> files = TinyHfModel({});
    files.erase(name);
    const absl::Status status = Checkpoint::Open(WriteTempFolder("missing", files)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  }
}

TEST(CheckpointTest, AFolderWithoutAConfigurationIsToldWhatAModelIs) {
  const absl::Status status =
      Checkpoint::Open(WriteTempFolder("plain", {{"model.gguf", "GGUF"}})).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("no config.json in this folder"),
                                                   HasSubstr("the path of a GGUF file")));
}

TEST(CheckpointTest, ATensorInTwoPartsOfAModelIsRefused) {
  for (const int number : {0, 1}) {
    GgufWriter writer = TinyModel({});
    writer.AddPair("split.no", 2, GgufWriter::Bytes(static_cast<uint16_t>(number)));
    writer.AddPair("split.count", 2, GgufWriter::Bytes<uint16_t>(2));
    writer.AddI32("split.tensors.count", 2 * 20);
    writer.WriteToTemp(number == 0 ? "d-00001-of-00002.gguf" : "d-00002-of-00002.gguf");
  }
  const absl::Status status =
      Checkpoint::Open(testing::TempDir() + "/d-00001-of-00002.gguf").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("d-00002-of-00002.gguf"), HasSubstr("another file")));
}

TEST(CheckpointTest, TheTurnEndsOfGenerationConfigAreAdded) {
  std::map<std::string, std::string> files = TinyHfModel({});
  files["generation_config.json"] = R"({"eos_token_id": [4, 7]})";
  const auto checkpoint = Checkpoint::Open(WriteTempFolder("ends", files));
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto assets = (*checkpoint)->ReadTokenizer();
  ASSERT_TRUE(assets.ok()) << assets.status();
  EXPECT_THAT(assets->eos_token_ids, ElementsAre(0, 2, 4, 7));
}

}  // namespace
}  // namespace phalanx
