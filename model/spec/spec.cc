#include "model/spec/spec.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/number_text.h"
#include "base/status.h"
#include "model/files/tensor.h"

namespace phalanx {
namespace {

constexpr absl::string_view kArchitectures[] = {"llama", "phi3", "qwen2"};

// DATA_LOSS unless there are `size` factors, all of which a frequency can be divided by.
absl::Status CheckFactors(const std::vector<float>& factors, size_t size, absl::string_view path,
                          absl::string_view key) {
  if (factors.size() != size) {
    return absl::DataLossError(absl::StrCat(path, ": ", key, ": ", factors.size(),
                                            " factors, where half the rotated dimensions are ",
                                            size));
  }
  for (const float factor : factors) {
    if (!(factor >= 1e-3f && factor <= 1e6f)) {
      return absl::DataLossError(
          absl::StrCat(path, ": ", key, ": a factor of ", NumberText(factor), " is implausible"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Span<const absl::string_view> SupportedArchitectures() { return kArchitectures; }

absl::Status CheckModelSpec(const ModelSpec& spec, absl::string_view path, const SpecKeys& keys) {
  const auto impossible = [&](absl::string_view key, const auto&... what) {
    return absl::DataLossError(absl::StrCat(path, ": ", key, ": ", what...));
  };
  if (spec.num_q_heads % spec.num_kv_heads != 0) {
    return impossible(keys.num_kv_heads, spec.num_kv_heads, " does not divide ", spec.num_q_heads);
  }
  if (int64_t{spec.num_q_heads} * spec.head_dim > kMaxModelDimension) {
    return impossible(keys.head_dim, spec.head_dim, " is too large for ", spec.num_q_heads,
                      " heads");
  }
  if (spec.rotary_dim % 2 != 0 || spec.rotary_dim > spec.head_dim) {
    return impossible(keys.rotary_dim, spec.rotary_dim, " rotated of ", spec.head_dim,
                      " dimensions: not an even number of at most all of them");
  }
  if (!(spec.rms_norm_eps > 0 && spec.rms_norm_eps <= 0.1f)) {
    return impossible(keys.rms_norm_eps, NumberText(spec.rms_norm_eps), " is implausible");
  }
  const RopeSpec& rope = spec.rope;
  if (!(rope.theta >= 1 && rope.theta <= 1e12f)) {
    return impossible(keys.theta, NumberText(rope.theta), " is implausible");
  }
  if (!(rope.attention_factor > 0 && rope.attention_factor <= 100)) {
    return impossible(keys.attention_factor, NumberText(rope.attention_factor), " is implausible");
  }
  const size_t pairs = spec.rotary_dim / 2;
  if (!rope.factors.empty()) {
    RETURN_IF_ERROR(CheckFactors(rope.factors, pairs, path, keys.factors));
  }
  if (rope.long_factors.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(CheckFactors(rope.long_factors, pairs, path, keys.long_factors));
  if (rope.original_context_tokens < 2) {
    return impossible(keys.original_context_tokens, rope.original_context_tokens,
                      " is no context of LongRoPE");
  }
  return absl::OkStatus();
}

}  // namespace phalanx
