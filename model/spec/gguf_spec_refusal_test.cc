// Tests of files whose network is refused, with an error that names the file and the key.

#include <functional>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/testing/allocated_bytes.h"
#include "model/testing/gguf_spec_fixture.h"

namespace phalanx {
namespace {

using testing::AllOf;
using testing::HasSubstr;

struct BadKey {
  std::string what;
  std::function<void(Metadata&)> spoil;
  std::string key;
  absl::StatusCode code = absl::StatusCode::kDataLoss;
};

class GgufSpecBadKeyTest : public testing::TestWithParam<BadKey> {};

TEST_P(GgufSpecBadKeyTest, IsRefusedNamingFileAndKey) {
  Metadata metadata;
  GetParam().spoil(metadata);
  const absl::Status status = metadata.Read("bad.gguf").status();
  EXPECT_EQ(status.code(), GetParam().code) << status;
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("bad.gguf"), HasSubstr(GetParam().key)));
}

constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;

INSTANTIATE_TEST_SUITE_P(
    All, GgufSpecBadKeyTest,
    testing::Values(
        BadKey{"OtherArchitecture", [](Metadata& m) { m.Text("general.architecture", "mamba"); },
               "mamba is not supported; these are: llama, phi3, qwen2", kUnimplemented},
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
               "llama.rope.dimension_count"},
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
        BadKey{"FactorBesideNoScaling",
               [](Metadata& m) {
                 m.Text("llama.rope.scaling.type", "none");
                 m.F32("llama.rope.scaling.factor", 2);
               },
               "llama.rope.scaling.factor", kUnimplemented},
        BadKey{"FactorBesideAList",
               [](Metadata& m) {
                 m.Vector("rope_freqs.weight", {1});
                 m.F32("llama.rope.scaling.factor", 2);
               },
               "llama.rope.scaling.factor", kUnimplemented},
        BadKey{"NegativeFactor", [](Metadata& m) { m.F32("llama.rope.scaling.factor", -2); },
               "llama.rope.scaling.factor"},
        BadKey{"WindowThatMasks", [](Metadata& m) { m.U32("llama.attention.sliding_window", 63); },
               "llama.attention.sliding_window: a window of 63 tokens", kUnimplemented},
        BadKey{"NotCausal", [](Metadata& m) { m.Bool("llama.attention.causal", false); },
               "llama.attention.causal", kUnimplemented},
        BadKey{"Adapter", [](Metadata& m) { m.Text("general.type", "adapter"); },
               "general.type adapter", kUnimplemented},
        BadKey{"LongRopeInLlama",
               [](Metadata& m) {
                 m.Vector("rope_factors_short.weight", {1});
                 m.Vector("rope_factors_long.weight", {1});
               },
               "rope_factors_short.weight", kUnimplemented},
        BadKey{"FactorsOfOtherLength",
               [](Metadata& m) {
                 m.Vector("rope_freqs.weight", {1, 1});
               },
               "rope_freqs.weight: 2 factors"},
        BadKey{"FactorOfZero", [](Metadata& m) { m.Vector("rope_freqs.weight", {0}); },
               "rope_freqs.weight: a factor of 0"},
        BadKey{"FactorThatIsNoNumber", [](Metadata& m) { m.Vector("rope_freqs.weight", {NAN}); },
               "rope_freqs.weight"},
        BadKey{"Phi3WithOneList",
               [](Metadata& m) {
                 m = SmallPhi3();
                 m.Vector("rope_factors_long.weight", {1, 1});
               },
               "rope_factors_long.weight: 2 factors"},
        BadKey{"Phi3OddRotation",
               [](Metadata& m) {
                 m = SmallPhi3();
                 m.U32("phi3.rope.dimension_count", 7);
               },
               "phi3.rope.dimension_count"},
        BadKey{"Phi3RotationBeyondTheHead",
               [](Metadata& m) {
                 m = SmallPhi3();
                 m.U32("phi3.rope.dimension_count", 34);
               },
               "phi3.rope.dimension_count"},
        BadKey{"Phi3WithoutABorder",
               [](Metadata& m) {
                 m = SmallPhi3();
                 m.Drop("phi3.rope.scaling.original_context_length");
               },
               "phi3.rope.scaling.original_context_length: missing"},
        BadKey{"Phi3WithSeparateProjections",
               [](Metadata& m) {
                 m = SmallPhi3();
                 m.Vector("blk.0.attn_q.weight", {1});
               },
               "blk.0.attn_q.weight", kUnimplemented},
        BadKey{"LongRopeWithoutLists",
               [](Metadata& m) {
                 m = Metadata("phi3");
                 m.Text("phi3.rope.scaling.type", "longrope");
               },
               "rope_factors_long.weight: missing"}),
    [](const auto& info) { return info.param.what; });

// A linear factor becomes a list as long as a head.
TEST(GgufSpecRefusalTest, NoDimensionMakesTheReaderAllocateMuch) {
  Metadata long_head;
  long_head.U32("llama.attention.key_length", 1 << 24);
  long_head.U32("llama.attention.value_length", 1 << 24);
  Metadata long_rotation("qwen2");
  long_rotation.U32("qwen2.rope.dimension_count", 1 << 24);
  const std::pair<Metadata*, std::string> cases[] = {
      {&long_head, "llama.attention.key_length: 16777216"},
      {&long_rotation, "qwen2.rope.dimension_count: 16777216"}};
  for (const auto& [metadata, message] : cases) {
    const std::string prefix = message.substr(0, message.find('.'));
    metadata->Text(prefix + ".rope.scaling.type", "linear");
    metadata->F32(prefix + ".rope.scaling.factor", 2.5f);
    const size_t allocated = AllocatedBytes();
    const absl::Status status = metadata->Read("large.gguf").status();
    EXPECT_LE(AllocatedBytes() - allocated, 4 * kAllocationBase);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("large.gguf"), HasSubstr(message)));
  }
}

TEST(GgufSpecRefusalTest, TokensMustBeAsManyAsEmbeddings) {
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
  const absl::Status status = ReadSpec(writer.WriteToTemp("tokens.gguf")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tokenizer.ggml.tokens: 2 tokens"));
}

}  // namespace
}  // namespace phalanx
