// What the readers make of a real file, SmolLM2-135M-Instruct.Q4_1.gguf.

#include <cstdlib>
#include <memory>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/checkpoint/checkpoint.h"
#include "model/files/gguf.h"

namespace phalanx {
namespace {

using testing::ElementsAre;
using testing::StartsWith;

class SmolLm2FileTest : public testing::Test {
 protected:
  void SetUp() override {
    auto file = GgufFile::Open(std::getenv("SMOLLM2"));
    ASSERT_TRUE(file.ok()) << file.status();
    file_ = *std::move(file);
    auto checkpoint = Checkpoint::Open(std::getenv("SMOLLM2"));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    checkpoint_ = *std::move(checkpoint);
  }
  std::unique_ptr<GgufFile> file_;
  std::unique_ptr<Checkpoint> checkpoint_;
};

TEST_F(SmolLm2FileTest, Spec) {
  const ModelSpec* const spec = &checkpoint_->spec();
  EXPECT_EQ(spec->name, "SmolLM2-135M-Instruct");
  EXPECT_EQ(spec->num_layers, 30);
  EXPECT_EQ(spec->hidden, 576);
  EXPECT_EQ(spec->num_q_heads, 9);
  EXPECT_EQ(spec->num_kv_heads, 3);
  EXPECT_EQ(spec->head_dim, 64);
  EXPECT_EQ(spec->ffn, 1536);
  EXPECT_EQ(spec->vocab, 49152);
  EXPECT_EQ(spec->context_tokens, 8192);
  EXPECT_FLOAT_EQ(spec->rms_norm_eps, 1e-5f);
  EXPECT_EQ(spec->rope.theta, 100000.0f);
  EXPECT_TRUE(spec->tied_embeddings);
}

TEST_F(SmolLm2FileTest, Tensors) {
  EXPECT_EQ(file_->tensors().size(), 272u);
  const TensorView* embedding = file_->FindTensor("token_embd.weight");
  ASSERT_NE(embedding, nullptr);
  EXPECT_EQ(TensorTypeName(embedding->type), "Q8_0");
  EXPECT_EQ(embedding->data.size(), 30081024u);
  EXPECT_EQ(file_->header().size(), 1785664u);
  EXPECT_EQ(file_->file_bytes(), 98362432u);
}

TEST_F(SmolLm2FileTest, Tokenizer) {
  const auto assets = checkpoint_->ReadTokenizer();
  ASSERT_TRUE(assets.ok()) << assets.status();
  EXPECT_EQ(assets->token_bytes.size(), 49152u);
  EXPECT_EQ(assets->merges.size(), 48900u);
  EXPECT_EQ(assets->token_bytes[2], "<|im_end|>");
  EXPECT_THAT(assets->eos_token_ids, ElementsAre(0, 2));
  EXPECT_EQ(assets->eos_token_id, 2);
  EXPECT_EQ(assets->bos_token_id, 1);
  EXPECT_FALSE(assets->add_bos);
  const auto [left, right] = assets->merges[0];
  EXPECT_EQ(assets->token_bytes[left], " ");
  EXPECT_EQ(assets->token_bytes[right], "t");
  EXPECT_THAT(assets->chat_template, StartsWith("{% for message in messages %}"));
}

TEST_F(SmolLm2FileTest, NothingIsAdvisedForSampling) {
  EXPECT_EQ(checkpoint_->generation_defaults().sampling.temperature, 0.0f);
}

TEST_F(SmolLm2FileTest, FingerprintIsThatOfThisFile) {
  EXPECT_EQ(checkpoint_->fingerprint(), "8d307920a69d08ff");
}

}  // namespace
}  // namespace phalanx
