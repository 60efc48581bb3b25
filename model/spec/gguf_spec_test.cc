#include "model/spec/gguf_spec.h"

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/testing/gguf_spec_fixture.h"
#include "model/testing/tiny_model.h"

namespace phalanx {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(GgufSpecTest, ReadsTheTinyModel) {
  const auto spec = ReadSpec(WriteTinyModel("Tiny-3M-Chat.Q4_1.gguf"));
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

TEST(GgufSpecTest, AnOutputMatrixOfItsOwnUntiesTheEmbeddings) {
  const auto spec = ReadSpec(WriteTinyModel("untied.gguf", {.untied_output = true}));
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_FALSE(spec->tied_embeddings);
}

TEST(GgufSpecTest, NameIsTheBaseNameWithoutQuantization) {
  const struct {
    const char* file;
    const char* name;
  } cases[] = {{"a.gguf", "a"},
               {"Model-1B-Q4_K_M.gguf", "Model-1B"},
               {"model.f16.gguf", "model"},
               {"model-iq3_xs.gguf", "model"},
               {"Model-Chat.gguf", "Model-Chat"},
               {"v1.5.BF16.gguf", "v1.5"},
               {"Big-Q8_0-00001-of-00003.gguf", "Big"}};
  for (const auto& c : cases) {
    const auto spec = ReadSpec(WriteTinyModel(c.file));
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_EQ(spec->name, c.name);
  }
}

TEST(GgufSpecTest, Phi3HasPartialRotationTwoListsAndFusedTensors) {
  const auto spec = SmallPhi3().Read("phi3.gguf");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->architecture, "phi3");
  EXPECT_EQ(spec->head_dim, 32);
  EXPECT_EQ(spec->rotary_dim, 8);
  EXPECT_THAT(spec->rope.factors, ElementsAre(1, 1, 1, 1.5f));
  EXPECT_THAT(spec->rope.long_factors, ElementsAre(1, 2, 3, 4.5f));
  EXPECT_EQ(spec->rope.original_context_tokens, 16);
  EXPECT_EQ(spec->rope.attention_factor, 1.25f);
  EXPECT_TRUE(spec->fused_projections);
  EXPECT_FALSE(spec->interleaved_qk_rows);
  EXPECT_FALSE(spec->qkv_bias);
  EXPECT_TRUE(spec->tied_embeddings);
}

TEST(GgufSpecTest, LongRopesAttentionFactorIsComputedWhereTheFileHasNone) {
  Metadata metadata = SmallPhi3();
  metadata.Drop("phi3.rope.scaling.attn_factor");
  metadata.Text("phi3.rope.scaling.type", "longrope");
  const auto spec = metadata.Read("factor.gguf");
  ASSERT_TRUE(spec.ok()) << spec.status();
  // The context grew from 16 to 64 tokens.
  EXPECT_FLOAT_EQ(spec->rope.attention_factor, std::sqrt(1.5f));
}

TEST(GgufSpecTest, Phi3WithoutListsHasOneContext) {
  Metadata metadata("phi3");
  metadata.U32("phi3.rope.scaling.original_context_length", 64);
  metadata.U32("phi3.attention.sliding_window", 0);
  const auto spec = metadata.Read("phi3-short.gguf");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_TRUE(spec->rope.factors.empty());
  EXPECT_EQ(spec->rope.original_context_tokens, 0);
}

TEST(GgufSpecTest, AnExtendedContextWithoutItsFactorsIsRefused) {
  for (const char* architecture : {"phi3", "llama", "qwen2"}) {
    const std::string prefix = architecture;
    Metadata metadata(prefix);
    metadata.U32(prefix + ".rope.scaling.original_context_length", 63);
    const absl::Status status = metadata.Read("extended.gguf").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr(prefix + ".rope.scaling.original_context_length: 63"),
                      HasSubstr("extended to 64")));
    if (prefix == "phi3") {
      EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("rope_factors_short.weight"),
                                                       HasSubstr("rope_factors_long.weight")));
    }
    // A context that was not extended, and one for which the file says by how much.
    metadata.U32(prefix + ".rope.scaling.original_context_length", 65);
    EXPECT_TRUE(metadata.Read("whole.gguf").ok());
    metadata.U32(prefix + ".rope.scaling.original_context_length", 16);
    metadata.F32(prefix + ".rope.scaling.factor", 4.0f);
    EXPECT_TRUE(metadata.Read("linear.gguf").ok());
  }
}

TEST(GgufSpecTest, AnAttentionFactorNeedsItsLists) {
  for (const char* architecture : {"phi3", "llama", "qwen2"}) {
    const std::string prefix = architecture;
    Metadata metadata(prefix);
    metadata.F32(prefix + ".rope.scaling.attn_factor", 1.0f);
    EXPECT_TRUE(metadata.Read("one.gguf").ok());
    metadata.F32(prefix + ".rope.scaling.attn_factor", 1.25f);
    const absl::Status status = metadata.Read("alone.gguf").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << status;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(prefix + ".rope.scaling.attn_factor: 1.25"));
  }
}

TEST(GgufSpecTest, Qwen2HasBiasesAndHalfSplitRows) {
  Metadata metadata("qwen2");
  metadata.F32("qwen2.rope.freq_base", 1e6f);
  const auto spec = metadata.Read("qwen2.gguf");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_TRUE(spec->qkv_bias);
  EXPECT_FALSE(spec->interleaved_qk_rows);
  EXPECT_FALSE(spec->fused_projections);
  EXPECT_EQ(spec->rope.theta, 1e6f);
}

TEST(GgufSpecTest, Llama3sFactorsAreInATensor) {
  Metadata metadata;
  metadata.Vector("rope_freqs.weight", {32});
  const auto spec = metadata.Read("llama3.gguf");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_THAT(spec->rope.factors, ElementsAre(32));
  EXPECT_TRUE(spec->rope.long_factors.empty());
}

TEST(GgufSpecTest, ALinearFactorSlowsEveryPair) {
  for (const bool with_type : {true, false}) {
    Metadata metadata;
    metadata.U32("llama.attention.key_length", 4);
    metadata.U32("llama.attention.value_length", 4);
    if (with_type) metadata.Text("llama.rope.scaling.type", "linear");
    metadata.F32("llama.rope.scaling.factor", 2.5f);
    const auto spec = metadata.Read("linear.gguf");
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_THAT(spec->rope.factors, ElementsAre(2.5f, 2.5f));
  }
}

TEST(GgufSpecTest, KeysThatChangeNothingAreAccepted) {
  Metadata metadata;
  metadata.Bool("llama.rope.scaling.finetuned", true);
  metadata.Bool("llama.attention.causal", true);
  metadata.Text("llama.rope.scaling.type", "none");
  metadata.U32("llama.expert_count", 0);
  metadata.U32("llama.attention.sliding_window", 64);
  metadata.Text("general.type", "model");
  const auto spec = metadata.Read("harmless.gguf");
  EXPECT_TRUE(spec.ok()) << spec.status();
}

TEST(GgufSpecTest, OptionalKeysHaveLlamasDefaults) {
  Metadata metadata;
  metadata.Drop("llama.attention.head_count_kv");
  const auto spec = metadata.Read("defaults.gguf");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->num_kv_heads, 4);
  EXPECT_EQ(spec->head_dim, 2);
  EXPECT_EQ(spec->rotary_dim, 2);
  EXPECT_EQ(spec->rope.theta, 10000.0f);
}

}  // namespace
}  // namespace phalanx
