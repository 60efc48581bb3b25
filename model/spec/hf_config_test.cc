#include "model/spec/hf_config.h"

#include <cmath>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/testing/allocated_bytes.h"
#include "model/testing/hf_configs.h"

namespace phalanx {
namespace {

using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

absl::StatusOr<HfConfig> Read(const std::string& text) {
  absl::StatusOr<JsonValue> json = ParseJson(text, "config.json");
  if (!json.ok()) return json.status();
  return ReadHfConfig(*json, "config.json", "name");
}

HfConfig MustRead(const std::string& text) {
  absl::StatusOr<HfConfig> config = Read(text);
  EXPECT_TRUE(config.ok()) << config.status();
  return config.value_or(HfConfig{});
}

TEST(HfConfigTest, Phi4MiniReasoningAndInstruct) {
  for (const std::string& text : {Phi4MiniReasoningConfig(), Phi4MiniInstructConfig()}) {
    const ModelSpec spec = MustRead(text).spec;
    EXPECT_EQ(spec.name, "name");
    EXPECT_EQ(spec.architecture, "phi3");
    EXPECT_EQ(spec.num_layers, 32);
    EXPECT_EQ(spec.hidden, 3072);
    EXPECT_EQ(spec.num_q_heads, 24);
    EXPECT_EQ(spec.num_kv_heads, 8);
    EXPECT_EQ(spec.head_dim, 128);
    EXPECT_EQ(spec.rotary_dim, 96);
    EXPECT_EQ(spec.ffn, 8192);
    EXPECT_EQ(spec.vocab, 200064);
    EXPECT_EQ(spec.context_tokens, 131072);
    EXPECT_EQ(spec.rms_norm_eps, 1e-5f);
    EXPECT_EQ(spec.rope.theta, 10000.0f);
    EXPECT_THAT(spec.rope.factors, AllOf(SizeIs(48), Each(1.0f)));
    ASSERT_THAT(spec.rope.long_factors, SizeIs(48));
    EXPECT_EQ(spec.rope.long_factors[1], 1.118320672f);
    EXPECT_EQ(spec.rope.long_factors[47], 47.77f);
    EXPECT_EQ(spec.rope.original_context_tokens, 4096);
    EXPECT_FLOAT_EQ(spec.rope.attention_factor, 1.1902380714f);
    EXPECT_TRUE(spec.tied_embeddings);
    EXPECT_FALSE(spec.qkv_bias);
    EXPECT_TRUE(spec.fused_projections);
    EXPECT_FALSE(spec.interleaved_qk_rows);
    EXPECT_EQ(spec.tensor_naming, TensorNaming::kHuggingFace);
  }
  EXPECT_THAT(MustRead(Phi4MiniReasoningConfig()).eos_token_ids, ElementsAre(199999));
  EXPECT_THAT(MustRead(Phi4MiniInstructConfig()).eos_token_ids, ElementsAre(199999, 200020));
}

TEST(HfConfigTest, Llama32) {
  const HfConfig config = MustRead(Llama32Config());
  const ModelSpec& spec = config.spec;
  EXPECT_EQ(spec.architecture, "llama");
  EXPECT_EQ(spec.num_layers, 28);
  EXPECT_EQ(spec.head_dim, 128);
  EXPECT_EQ(spec.rotary_dim, 128);
  EXPECT_EQ(spec.rope.theta, 500000.0f);
  ASSERT_THAT(spec.rope.factors, SizeIs(64));
  EXPECT_EQ(spec.rope.factors[0], 1.0f);
  EXPECT_EQ(spec.rope.factors[63], 32.0f);
  EXPECT_THAT(spec.rope.long_factors, IsEmpty());
  EXPECT_EQ(spec.rope.original_context_tokens, 0);
  EXPECT_EQ(spec.rope.attention_factor, 1.0f);
  EXPECT_TRUE(spec.tied_embeddings);
  EXPECT_FALSE(spec.fused_projections);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(128001, 128008, 128009));
}

TEST(HfConfigTest, R1DistillLlama) {
  const ModelSpec spec = MustRead(R1DistillLlamaConfig()).spec;
  EXPECT_EQ(spec.hidden, 4096);
  EXPECT_EQ(spec.head_dim, 128);
  EXPECT_EQ(spec.ffn, 14336);
  EXPECT_EQ(spec.rope.factors[63], 8.0f);
  EXPECT_FALSE(spec.tied_embeddings);
}

TEST(HfConfigTest, SmolLm2) {
  const ModelSpec spec = MustRead(SmolLm2Config()).spec;
  EXPECT_EQ(spec.num_q_heads, 9);
  EXPECT_EQ(spec.num_kv_heads, 3);
  EXPECT_EQ(spec.head_dim, 64);
  EXPECT_EQ(spec.rope.theta, 100000.0f);
  EXPECT_THAT(spec.rope.factors, IsEmpty());
  EXPECT_EQ(spec.context_tokens, 8192);
}

TEST(HfConfigTest, TheQwen2Family) {
  for (const std::string& text :
       {R1DistillQwenConfig(), BespokeStratosConfig(), OpenThinkerConfig()}) {
    const ModelSpec spec = MustRead(text).spec;
    EXPECT_EQ(spec.architecture, "qwen2");
    EXPECT_EQ(spec.num_kv_heads, 4);
    EXPECT_EQ(spec.head_dim, 128);
    EXPECT_EQ(spec.vocab, 152064);
    EXPECT_EQ(spec.rms_norm_eps, 1e-6f);
    EXPECT_TRUE(spec.qkv_bias);
    EXPECT_FALSE(spec.tied_embeddings);
  }
  EXPECT_EQ(MustRead(R1DistillQwenConfig()).spec.rope.theta, 10000.0f);
  EXPECT_EQ(MustRead(R1DistillQwenConfig()).spec.context_tokens, 131072);
  EXPECT_EQ(MustRead(BespokeStratosConfig()).spec.rope.theta, 1e6f);
  EXPECT_EQ(MustRead(BespokeStratosConfig()).spec.context_tokens, 32768);
  EXPECT_THAT(MustRead(OpenThinkerConfig()).eos_token_ids, ElementsAre(151645));
}

// A config with one replacement.
std::string Change(const std::string& config, const std::string& from, const std::string& to) {
  EXPECT_THAT(config, HasSubstr(from));
  return absl::StrReplaceAll(config, {{from, to}});
}

std::string With(const std::string& config, const std::string& member) {
  return Change(config, "\"model_type\"", absl::StrCat(member, ", \"model_type\""));
}

TEST(HfConfigTest, OldNamesOfLongRopeAreReadForPhi3) {
  for (const char* name : {"su", "yarn"}) {
    const std::string text = Change(Phi4MiniReasoningConfig(), R"("type": "longrope")",
                                    absl::StrCat(R"("type": ")", name, "\""));
    EXPECT_THAT(MustRead(text).spec.rope.long_factors, SizeIs(48));
  }
}

TEST(HfConfigTest, LongRopesFactorsCanBeGiven) {
  const std::string given = Change(Phi4MiniReasoningConfig(), R"("type": "longrope")",
                                   R"("type": "longrope", "attention_factor": 1.5)");
  EXPECT_EQ(MustRead(given).spec.rope.attention_factor, 1.5f);
  const std::string growth = Change(Phi4MiniReasoningConfig(), R"("type": "longrope")",
                                    R"("type": "longrope", "factor": 1.0)");
  EXPECT_EQ(MustRead(growth).spec.rope.attention_factor, 1.0f);
}

TEST(HfConfigTest, LinearScalingIsOneFactorForAll) {
  const std::string text = Change(SmolLm2Config(), R"("rope_scaling": null)",
                                  R"("rope_scaling": {"type": "linear", "factor": 2.5})");
  EXPECT_THAT(MustRead(text).spec.rope.factors, AllOf(SizeIs(32), Each(2.5f)));
}

TEST(HfConfigTest, WhatIsLeftOutHasTransformersDefaults) {
  std::string text = Change(SmolLm2Config(), R"("tie_word_embeddings": true,)", "");
  text = Change(text, R"("rope_theta": 100000,)", "");
  text = Change(text, R"("num_key_value_heads": 3,)", "");
  const ModelSpec spec = MustRead(text).spec;
  EXPECT_FALSE(spec.tied_embeddings);
  EXPECT_EQ(spec.rope.theta, 10000.0f);
  EXPECT_EQ(spec.num_kv_heads, 9);
}

TEST(HfConfigTest, WindowsThatNeverMaskAreAccepted) {
  const std::string wide = Change(Change(R1DistillQwenConfig(), R"("use_sliding_window": false)",
                                         R"("use_sliding_window": true)"),
                                  R"("sliding_window": 4096)", R"("sliding_window": 131072)");
  MustRead(wide);
  // The first 28 of 28 layers have full attention.
  MustRead(Change(R1DistillQwenConfig(), R"("use_sliding_window": false)",
                  R"("use_sliding_window": true)"));
}

struct BadConfig {
  std::string what;
  std::string text;
  std::string message;
  absl::StatusCode code = absl::StatusCode::kUnimplemented;
};

constexpr auto kDataLoss = absl::StatusCode::kDataLoss;

std::vector<BadConfig> BadConfigs() {
  const std::string llama = Llama32Config();
  const std::string smol = SmolLm2Config();
  const std::string phi = Phi4MiniReasoningConfig();
  const std::string qwen = R1DistillQwenConfig();
  const std::string windowed =
      Change(Change(qwen, R"("use_sliding_window": false)", R"("use_sliding_window": true)"),
             R"("max_window_layers": 28)", R"("max_window_layers": 27)");
  return {
      {"OtherClass", Change(smol, R"("model_type": "llama")", R"("model_type": "mistral")"),
       "model_type: mistral is not supported; these are: llama, phi3, qwen2"},
      {"NoClass", Change(smol, R"("model_type": "llama",)", ""), "model_type: missing", kDataLoss},
      {"OtherHead", Change(smol, "LlamaForCausalLM", "LlamaForSequenceClassification"),
       "architectures: \"LlamaForSequenceClassification\""},
      {"Quantized", With(smol, R"("quantization_config": {"quant_method": "gptq"})"),
       "quantization_config: quant_method \"gptq\""},
      {"UnknownKey", With(smol, R"("attn_logit_softcapping": 50.0)"),
       "attn_logit_softcapping: this key is not supported"},
      {"OtherActivation", Change(smol, R"("silu")", R"("gelu")"), "hidden_act: \"gelu\""},
      {"AttentionBias", Change(smol, R"("attention_bias": false)", R"("attention_bias": true)"),
       "attention_bias: true"},
      {"MlpBias", Change(smol, R"("mlp_bias": false)", R"("mlp_bias": true)"), "mlp_bias: true"},
      {"InterleavedRotation",
       Change(smol, R"("rope_interleaved": false)", R"("rope_interleaved": true)"),
       "rope_interleaved: true"},
      {"Missing", Change(smol, R"("hidden_size": 576,)", ""), "hidden_size: missing", kDataLoss},
      {"Text", Change(smol, R"("hidden_size": 576)", R"("hidden_size": "576")"),
       "hidden_size: \"576\"", kDataLoss},
      {"Fraction", Change(smol, R"("hidden_size": 576)", R"("hidden_size": 576.5)"),
       "hidden_size: 576.5", kDataLoss},
      {"Zero", Change(smol, R"("num_hidden_layers": 30)", R"("num_hidden_layers": 0)"),
       "num_hidden_layers: 0", kDataLoss},
      {"Huge", Change(smol, R"("vocab_size": 49152)", R"("vocab_size": 18446744073709551616)"),
       "vocab_size", kDataLoss},
      {"Of2To63", Change(smol, R"("hidden_size": 576)", R"("hidden_size": 9223372036854775808)"),
       "hidden_size: 9223372036854775808", kDataLoss},
      {"Of2To32", Change(smol, R"("vocab_size": 49152)", R"("vocab_size": 4294967297)"),
       "vocab_size: 4294967297", kDataLoss},
      // 2^16 heads of 2^16 dims wrap to none in 32 bits.
      {"WrappingProduct",
       With(Change(Change(smol, R"("num_attention_heads": 9)", R"("num_attention_heads": 65536)"),
                   R"("num_key_value_heads": 3)", R"("num_key_value_heads": 65536)"),
            R"("head_dim": 65536)"),
       "head_dim: 65536", kDataLoss},
      {"EosOf2To63", Change(smol, R"("eos_token_id": 2)", R"("eos_token_id": 9223372036854775808)"),
       "eos_token_id: 9223372036854775808", kDataLoss},
      {"Nested", With(smol, R"("auto_map": )" + std::string(100000, '[')), "nested deeper than 64",
       kDataLoss},
      {"KvHeadsDoNotDivide",
       Change(smol, R"("num_key_value_heads": 3)", R"("num_key_value_heads": 2)"),
       "num_key_value_heads: 2", kDataLoss},
      {"HeadsDoNotDivide",
       Change(smol, R"("num_attention_heads": 9)", R"("num_attention_heads": 10)"),
       "num_attention_heads: 10", kDataLoss},
      {"OddHead", With(smol, R"("head_dim": 63)"), "head_dim: 63", kDataLoss},
      {"EpsilonOfZero", Change(smol, R"("rms_norm_eps": 1e-05)", R"("rms_norm_eps": 0)"),
       "rms_norm_eps: 0", kDataLoss},
      {"ThetaTwice", Change(llama, R"("factor": 32.0)", R"("factor": 32.0, "rope_theta": 1e4)"),
       "rope_scaling.rope_theta: 10000", kDataLoss},
      {"UnknownScaling", Change(llama, R"("rope_type": "llama3")", R"("rope_type": "yarn")"),
       "rope_scaling.rope_type: yarn is not supported in llama"},
      {"DynamicScaling", Change(llama, R"("rope_type": "llama3")", R"("rope_type": "dynamic")"),
       "rope_scaling.rope_type: dynamic"},
      {"LongRopeInLlama", Change(llama, R"("rope_type": "llama3")", R"("rope_type": "longrope")"),
       "rope_scaling.rope_type: longrope"},
      {"TwoTypes",
       Change(llama, R"("rope_type": "llama3")", R"("rope_type": "llama3", "type": "linear")"),
       "rope_scaling.rope_type: llama3, where type is linear", kDataLoss},
      {"TwoScalings", With(llama, R"("rope_parameters": {"rope_type": "default"})"),
       "rope_parameters: there is a rope_scaling too", kDataLoss},
      {"ScalingOfText", Change(smol, R"("rope_scaling": null)", R"("rope_scaling": "linear")"),
       "rope_scaling: \"linear\" is not an object", kDataLoss},
      {"NoFactor", Change(llama, R"("factor": 32.0,)", ""), "rope_scaling.factor: missing",
       kDataLoss},
      {"NegativeFactor", Change(llama, R"("factor": 32.0)", R"("factor": -1)"),
       "rope_scaling.factor", kDataLoss},
      {"FrequenciesInOtherOrder",
       Change(llama, R"("high_freq_factor": 4.0)", R"("high_freq_factor": 1.0)"),
       "rope_scaling.high_freq_factor", kDataLoss},
      {"UnknownScalingKey", Change(llama, R"("factor": 32.0)", R"("factor": 32.0, "beta": 1)"),
       "rope_scaling.beta: this key is not supported"},
      {"PartialRotationInLlama", With(smol, R"("partial_rotary_factor": 0.5)"),
       "partial_rotary_factor: 0.5"},
      {"ListOfOtherLength",
       Change(phi, R"("partial_rotary_factor": 0.75)", R"("partial_rotary_factor": 0.5)"),
       "rope_scaling.short_factor: 48 factors", kDataLoss},
      {"RotationBeyondTheHead",
       Change(phi, R"("partial_rotary_factor": 0.75)", R"("partial_rotary_factor": 1.5)"),
       "partial_rotary_factor: 1.5", kDataLoss},
      {"ListOfText", Change(phi, "47.77", "\"47.77\""), "rope_scaling.long_factor: \"47.77\"",
       kDataLoss},
      {"FactorOfZero", Change(phi, "47.77", "0"), "rope_scaling.long_factor: a factor of 0",
       kDataLoss},
      {"NoBorder", Change(phi, R"("original_max_position_embeddings": 4096,)", ""),
       "original_max_position_embeddings: missing", kDataLoss},
      {"TwoBorders",
       Change(phi, R"("type": "longrope")",
              R"("type": "longrope", "original_max_position_embeddings": 8192)"),
       "original_max_position_embeddings: 8192", kDataLoss},
      {"ScaleOfItsOwn",
       Change(phi, R"("type": "longrope")", R"("type": "longrope", "short_mscale": 1.1)"),
       "rope_scaling.short_mscale"},
      {"Phi3Window", Change(phi, R"("sliding_window": 262144)", R"("sliding_window": 2047)"),
       "sliding_window: a window of 2047 tokens"},
      {"HeadBias", Change(phi, R"("lm_head_bias": false)", R"("lm_head_bias": true)"),
       "lm_head_bias: true"},
      {"Qwen2Window", windowed, "sliding_window: a window of 4096 tokens"},
      {"Qwen2WindowByDefault", Change(windowed, R"("sliding_window": 4096,)", ""),
       "sliding_window: a window of 4096 tokens"},
      {"LayerTypes",
       With(Change(qwen, R"("num_hidden_layers": 28)", R"("num_hidden_layers": 1)"),
            R"("layer_types": ["sliding_attention"])"),
       "layer_types: \"sliding_attention\""},
      {"LayerTypesOfFewer", With(qwen, R"("layer_types": ["full_attention"])"), "layer_types",
       kDataLoss},
      {"Mrope", Change(qwen, R"("use_mrope": false)", R"("use_mrope": true)"), "use_mrope: true"},
      {"EosOfText", Change(smol, R"("eos_token_id": 2)", R"("eos_token_id": "2")"),
       "eos_token_id: \"2\" is not a token id", kDataLoss},
      {"NegativeEos", Change(smol, R"("eos_token_id": 2)", R"("eos_token_id": [2, -1])"),
       "eos_token_id: -1", kDataLoss},
      {"KeyTwice", With(smol, R"("hidden_size": 576)"), "\"hidden_size\" is there twice",
       kDataLoss},
      {"NotAnObject", "[]", "not an object", kDataLoss},
  };
}

TEST(HfConfigTest, WhatCannotBeServedIsRefusedNamingFileAndKey) {
  for (const BadConfig& bad : BadConfigs()) {
    SCOPED_TRACE(bad.what);
    const size_t allocated = AllocatedBytes();
    const absl::Status status = Read(bad.text).status();
    EXPECT_LE(AllocatedBytes() - allocated, kAllocationBase + 128 * bad.text.size());
    EXPECT_EQ(status.code(), bad.code) << status;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("config.json"), HasSubstr(bad.message)));
  }
}

TEST(HfConfigTest, EveryTruncationIsRefused) {
  const std::string whole = Phi4MiniReasoningConfig();
  for (size_t size = 0; size < whole.size(); ++size) {
    const size_t allocated = AllocatedBytes();
    const absl::Status status = Read(whole.substr(0, size)).status();
    ASSERT_LE(AllocatedBytes() - allocated, kAllocationBase + 128 * size) << size;
    ASSERT_EQ(status.code(), kDataLoss) << size << " " << status;
    ASSERT_THAT(std::string(status.message()), HasSubstr("config.json: byte"));
  }
}

TEST(HfConfigTest, NoDimensionMakesTheReaderAllocateMuch) {
  const std::string text = With(Change(SmolLm2Config(), R"("rope_scaling": null)",
                                       R"("rope_scaling": {"type": "linear", "factor": 2.5})"),
                                R"("head_dim": 16777216)");
  const size_t allocated = AllocatedBytes();
  const absl::Status status = Read(text).status();
  EXPECT_LE(AllocatedBytes() - allocated, kAllocationBase + 128 * text.size());
  EXPECT_EQ(status.code(), kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("config.json: head_dim: 16777216"));
}

}  // namespace
}  // namespace phalanx
