#include "model/testing/tiny_model.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "model/testing/random_weights.h"

namespace phalanx {
namespace {

void AddTokenizer(GgufWriter& writer) {
  const std::vector<std::string> tokens = TinyTokens();
  std::vector<int32_t> types(kTinyFirstByte, 3);
  types.resize(tokens.size(), 1);
  std::vector<std::string> merges;
  for (const auto& [left, right] : TinyMerges()) merges.push_back(absl::StrCat(left, " ", right));
  writer.AddString("tokenizer.ggml.model", "gpt2");
  writer.AddString("tokenizer.ggml.pre", "smollm");
  writer.AddStrings("tokenizer.ggml.tokens", tokens);
  writer.AddI32s("tokenizer.ggml.token_type", types);
  writer.AddStrings("tokenizer.ggml.merges", merges);
  writer.AddU32("tokenizer.ggml.bos_token_id", 1);
  writer.AddU32("tokenizer.ggml.eos_token_id", 2);
  writer.AddString("tokenizer.chat_template", TinyChatTemplate());
}

void AddArchitecture(const TinyModelOptions& options, GgufWriter& writer) {
  writer.AddString("general.architecture", "llama");
  writer.AddU32("llama.block_count", options.num_layers);
  writer.AddU32("llama.context_length", options.context_tokens);
  writer.AddU32("llama.embedding_length", options.hidden);
  writer.AddU32("llama.feed_forward_length", options.ffn);
  writer.AddU32("llama.attention.head_count", options.num_q_heads);
  writer.AddU32("llama.attention.head_count_kv", options.num_kv_heads);
  writer.AddU32("llama.attention.key_length", options.head_dim);
  writer.AddU32("llama.attention.value_length", options.head_dim);
  writer.AddF32("llama.rope.freq_base", options.rope_theta);
  writer.AddF32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  writer.AddU32("llama.vocab_size", kTinyVocab);
  writer.AddU32("llama.rope.dimension_count", options.head_dim);
}

// Adds random tensors.
class TensorAdder {
 public:
  TensorAdder(uint32_t seed, GgufWriter& writer) : random_(seed), writer_(writer) {}

  // Elements are about normal, of standard deviation 1 / sqrt(cols).
  void AddMatrix(absl::string_view name, TensorType type, int rows, int cols, int broken_row = -1) {
    const float scale = 1.0f / std::sqrt(static_cast<float>(cols));
    std::string data;
    if (type == TensorType::kF32) {
      for (int i = 0; i < rows * cols; ++i) {
        const float value = scale * random_.Normal();
        data += GgufWriter::Bytes(i / cols == broken_row ? std::nanf("") : value);
      }
    } else {
      CHECK(cols % 32 == 0) << name;
      for (int i = 0; i < rows * cols / 32; ++i) data += Block(type, scale);
    }
    writer_.AddTensor(name, type, {static_cast<uint64_t>(cols), static_cast<uint64_t>(rows)}, data);
  }

  void AddNorm(absl::string_view name, int size) {
    std::string data;
    for (int i = 0; i < size; ++i) data += GgufWriter::Bytes(1.0f + 0.1f * random_.Normal());
    writer_.AddTensor(name, TensorType::kF32, {static_cast<uint64_t>(size)}, data);
  }

 private:
  // The nearest half-precision number for 2^-14 <= |value| < 65504, cut off.
  static uint16_t Half(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    const uint32_t exponent = ((bits >> 23) & 0xff) - 112;
    return static_cast<uint16_t>((bits >> 16 & 0x8000) | exponent << 10 | (bits >> 13 & 0x3ff));
  }

  std::string Block(TensorType type, float scale) {
    const float jitter = 0.75f + 0.5f * random_.Uniform();
    std::string block;
    if (type == TensorType::kQ8_0) {
      // Uniform bytes have a standard deviation of 73.9.
      block = GgufWriter::Bytes(Half(scale * jitter / 73.9f));
      for (int i = 0; i < 32; ++i) block.push_back(static_cast<char>(random_.Bits() % 255 - 127));
      return block;
    }
    CHECK(type == TensorType::kQ4_1) << TensorTypeName(type);
    // Uniform nibbles have a mean of 7.5 and a standard deviation of 4.61.
    const float step = scale * jitter / 4.61f;
    block = GgufWriter::Bytes(Half(step)) + GgufWriter::Bytes(Half(-7.5f * step));
    for (int i = 0; i < 16; ++i) block.push_back(static_cast<char>(random_.Bits() & 0xff));
    return block;
  }

  RandomWeights random_;
  GgufWriter& writer_;
};

}  // namespace

GgufWriter TinyModel(const TinyModelOptions& options) {
  GgufWriter writer;
  AddArchitecture(options, writer);
  AddTokenizer(writer);
  TensorAdder adder(options.seed, writer);
  adder.AddMatrix("token_embd.weight", options.embedding_type, kTinyVocab, options.hidden,
                  options.broken_token);
  const int q_rows = options.num_q_heads * options.head_dim;
  const int kv_rows = options.num_kv_heads * options.head_dim;
  for (int layer = 0; layer < options.num_layers; ++layer) {
    const std::string prefix = absl::StrCat("blk.", layer, ".");
    const auto matrix = [&](absl::string_view name, int rows, int cols) {
      adder.AddMatrix(absl::StrCat(prefix, name, ".weight"), options.matrix_type, rows, cols);
    };
    adder.AddNorm(prefix + "attn_norm.weight", options.hidden);
    matrix("attn_q", q_rows, options.hidden);
    matrix("attn_k", kv_rows, options.hidden);
    matrix("attn_v", kv_rows, options.hidden);
    matrix("attn_output", options.hidden, q_rows);
    adder.AddNorm(prefix + "ffn_norm.weight", options.hidden);
    matrix("ffn_gate", options.ffn, options.hidden);
    matrix("ffn_up", options.ffn, options.hidden);
    matrix("ffn_down", options.hidden, options.ffn);
  }
  adder.AddNorm("output_norm.weight", options.hidden);
  if (options.untied_output) {
    adder.AddMatrix("output.weight", options.embedding_type, kTinyVocab, options.hidden);
  }
  return writer;
}

std::string WriteTinyModel(absl::string_view name, const TinyModelOptions& options) {
  return TinyModel(options).WriteToTemp(name);
}

}  // namespace phalanx
