#include "model/gguf_spec.h"

#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/testing/allocated_bytes.h"
#include "model/testing/tiny_model.h"

namespace phalanx {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

absl::StatusOr<ModelSpec> Read(const std::string& path) {
  const auto file = GgufFile::Open(path);
  if (!file.ok()) return file.status();
  TensorTable tensors;
  EXPECT_TRUE(tensors.Add(path, (*file)->tensors()).ok());
  return ReadGgufSpec(**file, tensors);
}

TEST(GgufSpecTest, ReadsTheTinyModel) {
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

TEST(GgufSpecTest, AnOutputMatrixOfItsOwnUntiesTheEmbeddings) {
  const auto spec = Read(WriteTinyModel("untied.gguf", {.untied_output = true}));
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
    const auto spec = Read(WriteTinyModel(c.file));
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_EQ(spec->name, c.name);
  }
}

// A good file of one layer, with some keys and tensors replaced or left out.
class Metadata {
 public:
  void U32(const std::string& key, uint32_t value) { values_[key] = {4, GgufWriter::Bytes(value)}; }
  void F32(const std::string& key, float value) { values_[key] = {6, GgufWriter::Bytes(value)}; }
  void Bool(const std::string& key, bool value) {
    values_[key] = {7, GgufWriter::Bytes<uint8_t>(value)};
  }
  void Text(const std::string& key, const std::string& value) {
    values_[key] = {8, GgufWriter::String(value)};
  }
  void Drop(const std::string& key) { values_.erase(key); }
  void Vector(const std::string& name, const std::vector<float>& values) {
    vectors_[name] = values;
  }

  explicit Metadata(const std::string& architecture = "llama") {
    Text("general.architecture", architecture);
    const std::string prefix = architecture + ".";
    U32(prefix + "block_count", 1);
    U32(prefix + "context_length", 64);
    U32(prefix + "embedding_length", 8);
    U32(prefix + "feed_forward_length", 32);
    U32(prefix + "attention.head_count", 4);
    U32(prefix + "attention.head_count_kv", 2);
    F32(prefix + "attention.layer_norm_rms_epsilon", 1e-5f);
  }

  // The spec of the file that this makes.
  absl::StatusOr<ModelSpec> Read(const std::string& file) const {
    GgufWriter writer;
    for (const auto& [key, value] : values_) writer.AddPair(key, value.first, value.second);
    writer.AddStrings("tokenizer.ggml.tokens", {"a", "b", "c"});
    writer.AddTensor("token_embd.weight", TensorType::kF32, {8, 3}, std::string(96, '\0'));
    for (const auto& [name, values] : vectors_) {
      std::string bytes;
      for (const float value : values) bytes += GgufWriter::Bytes(value);
      writer.AddTensor(name, TensorType::kF32, {values.size()}, bytes);
    }
    return phalanx::Read(writer.WriteToTemp(file));
  }

 private:
  std::map<std::string, std::pair<uint32_t, std::string>> values_;
  std::map<std::string, std::vector<float>> vectors_;
};

// As conversions of Phi-4-mini are, but small: heads of 32, of which 8 are rotated.
Metadata SmallPhi3() {
  Metadata metadata("phi3");
  metadata.U32("phi3.embedding_length", 8);
  metadata.U32("phi3.attention.key_length", 32);
  metadata.U32("phi3.attention.value_length", 32);
  metadata.U32("phi3.rope.dimension_count", 8);
  metadata.F32("phi3.rope.freq_base", 10000.0f);
  metadata.U32("phi3.rope.scaling.original_context_length", 16);
  metadata.F32("phi3.rope.scaling.attn_factor", 1.25f);
  metadata.U32("phi3.attention.sliding_window", 128);
  metadata.Vector("rope_factors_short.weight", {1, 1, 1, 1.5f});
  metadata.Vector("rope_factors_long.weight", {1, 2, 3, 4.5f});
  return metadata;
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
    // One that was not extended, and one that says by how much.
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

struct BadKey {
  std::string what;
  std::function<void(Metadata&)> spoil;
  std::string key;
  absl::StatusCode code = absl::StatusCode::kDataLoss;
};

class BadGgufSpecTest : public testing::TestWithParam<BadKey> {};

TEST_P(BadGgufSpecTest, IsRefusedNamingFileAndKey) {
  Metadata metadata;
  GetParam().spoil(metadata);
  const absl::Status status = metadata.Read("bad.gguf").status();
  EXPECT_EQ(status.code(), GetParam().code) << status;
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("bad.gguf"), HasSubstr(GetParam().key)));
}

constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;

INSTANTIATE_TEST_SUITE_P(
    All, BadGgufSpecTest,
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
TEST(GgufSpecTest, NoDimensionMakesTheReaderAllocateMuch) {
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

TEST(GgufSpecTest, TokensMustBeAsManyAsEmbeddings) {
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
