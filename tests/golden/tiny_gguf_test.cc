// The same small models as GGUF files, written as llama.cpp's converter does: other names, other
// order of rows, rotary factors as tensors. The logits must be the same.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"
#include "model/checkpoint/checkpoint.h"
#include "model/testing/gguf_writer.h"
#include "tests/golden/tiny_models.h"

namespace phalanx {
namespace {

// "model.layers.1.mlp.up_proj.weight" to "blk.1.ffn_up.weight".
std::string GgufName(const std::string& name) {
  return absl::StrReplaceAll(name, {{"model.embed_tokens", "token_embd"},
                                    {"model.norm", "output_norm"},
                                    {"lm_head", "output"},
                                    {"model.layers.", "blk."},
                                    {"input_layernorm", "attn_norm"},
                                    {"post_attention_layernorm", "ffn_norm"},
                                    {"self_attn.qkv_proj", "attn_qkv"},
                                    {"self_attn.q_proj", "attn_q"},
                                    {"self_attn.k_proj", "attn_k"},
                                    {"self_attn.v_proj", "attn_v"},
                                    {"self_attn.o_proj", "attn_output"},
                                    {"mlp.gate_up_proj", "ffn_up"},
                                    {"mlp.gate_proj", "ffn_gate"},
                                    {"mlp.up_proj", "ffn_up"},
                                    {"mlp.down_proj", "ffn_down"}});
}

// Rows of rotary heads with dims j and j + n / 2 side by side, as the converter orders them.
std::string Interleave(const std::string& data, const ModelSpec& spec, int64_t rows) {
  const size_t row_bytes = data.size() / rows;
  const int half = spec.head_dim / 2;
  std::string ordered;
  for (int64_t head = 0; head < rows / spec.head_dim; ++head) {
    for (int j = 0; j < half; ++j) {
      for (const int64_t row : {head * spec.head_dim + j, head * spec.head_dim + half + j}) {
        ordered.append(data, row * row_bytes, row_bytes);
      }
    }
  }
  return ordered;
}

void AddFloats(GgufWriter& writer, const std::string& name, const std::vector<float>& values) {
  writer.AddTensor(name, TensorType::kF32, {values.size()},
                   {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
}

void AddMetadata(GgufWriter& writer, const ModelSpec& spec) {
  const auto key = [&](const char* name) { return absl::StrCat(spec.architecture, ".", name); };
  writer.AddString("general.architecture", spec.architecture);
  writer.AddU32(key("block_count"), spec.num_layers);
  writer.AddU32(key("context_length"), spec.context_tokens);
  writer.AddU32(key("embedding_length"), spec.hidden);
  writer.AddU32(key("feed_forward_length"), spec.ffn);
  writer.AddU32(key("attention.head_count"), spec.num_q_heads);
  writer.AddU32(key("attention.head_count_kv"), spec.num_kv_heads);
  writer.AddU32(key("attention.key_length"), spec.head_dim);
  writer.AddU32(key("attention.value_length"), spec.head_dim);
  writer.AddF32(key("attention.layer_norm_rms_epsilon"), spec.rms_norm_eps);
  writer.AddU32(key("rope.dimension_count"), spec.rotary_dim);
  writer.AddF32(key("rope.freq_base"), spec.rope.theta);
  if (spec.rope.num_lists() == 2) {
    writer.AddU32(key("rope.scaling.original_context_length"), spec.rope.original_context_tokens);
    writer.AddF32(key("rope.scaling.attn_factor"), spec.rope.attention_factor);
  }
  writer.AddString("tokenizer.ggml.model", "gpt2");
  std::vector<std::string> tokens;
  for (int id = 0; id < spec.vocab; ++id) tokens.push_back(absl::StrCat("token", id));
  writer.AddStrings("tokenizer.ggml.tokens", tokens);
}

std::string WriteAsGguf(const Checkpoint& checkpoint) {
  const ModelSpec& spec = checkpoint.spec();
  GgufWriter writer;
  AddMetadata(writer, spec);
  if (spec.rope.num_lists() == 2) {
    AddFloats(writer, "rope_factors_short.weight", spec.rope.factors);
    AddFloats(writer, "rope_factors_long.weight", spec.rope.long_factors);
  } else if (!spec.rope.factors.empty()) {
    AddFloats(writer, "rope_freqs.weight", spec.rope.factors);
  }
  for (const TensorView& tensor : checkpoint.tensors()) {
    std::string data(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
    const bool rotary =
        absl::StrContains(tensor.name, "q_proj") || absl::StrContains(tensor.name, "k_proj");
    if (spec.architecture == "llama" && rotary) data = Interleave(data, spec, tensor.rows);
    std::vector<uint64_t> dimensions = {static_cast<uint64_t>(tensor.cols)};
    if (tensor.rows > 1) dimensions.push_back(tensor.rows);
    writer.AddTensor(GgufName(tensor.name), tensor.type, dimensions, data);
  }
  return writer.WriteToTemp(absl::StrCat(spec.name, ".gguf"));
}

class TinyGgufTest : public testing::TestWithParam<std::string> {};

TEST_P(TinyGgufTest, LogitsAreThoseOfTheFolder) {
  const GoldenModel golden(GetParam());
  const auto checkpoint = Checkpoint::Open(golden.path);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const std::string path = WriteAsGguf(**checkpoint);
  for (int world = 1; world <= 2; ++world) {
    RankGroup group = MakeTestGroup(path, world);
    for (size_t i = 0; i < golden.prompts.size(); ++i) {
      EXPECT_LT(LargestError(Forward(group, golden.prompts[i]),
                             golden.logits.at(absl::StrCat("logits.", i))),
                2e-5)
          << world << " ranks, prompt of " << golden.prompts[i].size() << " tokens";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, TinyGgufTest, testing::ValuesIn(GoldenModelNames()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace phalanx
