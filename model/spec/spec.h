// Describes a decoder network, whatever file it came from.
#ifndef PHALANX_MODEL_SPEC_SPEC_H_
#define PHALANX_MODEL_SPEC_SPEC_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace phalanx {

// Rotary positions. Pair j of the first rotary_dim dims of a head turns with the inverse frequency
//   1 / (factor_j * theta^(2 j / rotary_dim)).
// The scalings of the family are all lists of factors: llama3's is computed from its four numbers,
// LongRoPE has two lists, of which a sequence uses one.
struct RopeSpec {
  float theta = 10000.0f;
  // [rotary_dim / 2]. Empty if all are 1.
  std::vector<float> factors;
  // LongRoPE's factors for sequences of more than original_context_tokens. [rotary_dim / 2], or
  // empty.
  std::vector<float> long_factors;
  int original_context_tokens = 0;  // 0 without LongRoPE.
  // Multiplies cosines and sines, whichever list is used.
  float attention_factor = 1.0f;

  int num_lists() const { return long_factors.empty() ? 1 : 2; }
};

// How tensors are named and ordered in the files.
enum class TensorNaming : uint8_t {
  kGguf,         // blk.0.attn_q.weight
  kHuggingFace,  // model.layers.0.self_attn.q_proj.weight
};

// A pre-norm decoder: grouped-query attention with rotary positions, SwiGLU feed-forward, RMSNorm.
struct ModelSpec {
  // What clients call the model, by where it lies on disk (see model_name.h):
  // "SmolLM2-135M-Instruct". Not from general.name, where converters write names of checkpoints.
  std::string name;
  std::string architecture;  // "llama", "phi3" or "qwen2".
  int num_layers = 0;
  int hidden = 0;
  int num_q_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int rotary_dim = 0;  // At most head_dim, even.
  int ffn = 0;
  int vocab = 0;
  int context_tokens = 0;
  float rms_norm_eps = 0;
  RopeSpec rope;
  // Whether the embedding is the output matrix too: the files have no output matrix, or one that is
  // the embedding again.
  bool tied_embeddings = false;
  // Whether the q, k and v projections have biases.
  bool qkv_bias = false;

  TensorNaming tensor_naming = TensorNaming::kGguf;
  // Whether q|k|v and gate|up are one tensor each, in this order of rows.
  bool fused_projections = false;
  // How many elements a quantization block of the FFN's down matrices has, at least 32. Their
  // columns are cut at multiples of it where possible.
  int ffn_block = 32;
  // Whether the file's q and k rows are ordered for interleaved rotary pairs (2j, 2j + 1), as the
  // llama.cpp converter writes "llama" files; the loader then undoes it.
  bool interleaved_qk_rows = false;
};

// The architectures that can be served: "llama", "phi3", "qwen2".
absl::Span<const absl::string_view> SupportedArchitectures();

// The bound of head_dim. There are this many rotary factors at most, and some are computed,
// whatever the file holds.
inline constexpr int kMaxHeadDim = 1 << 13;

// What a file format calls the fields of a spec, for messages.
struct SpecKeys {
  std::string num_q_heads;
  std::string num_kv_heads;
  std::string head_dim;
  std::string rotary_dim;
  std::string rms_norm_eps;
  std::string theta;
  std::string factors;
  std::string long_factors;
  std::string original_context_tokens;
  std::string attention_factor;
};

// Checks the rules that hold between the fields of a spec. Each of its dimensions must be in [1,
// kMaxModelDimension]. DATA_LOSS naming the file and the key of the field that breaks a rule.
absl::Status CheckModelSpec(const ModelSpec& spec, absl::string_view path, const SpecKeys& keys);

}  // namespace phalanx

#endif  // PHALANX_MODEL_SPEC_SPEC_H_
