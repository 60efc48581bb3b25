// Which of a LongRoPE model's two lists of rotary factors a sequence uses.
#ifndef PHALANX_MODEL_SPEC_LONG_ROPE_H_
#define PHALANX_MODEL_SPEC_LONG_ROPE_H_

#include <cstdint>

namespace phalanx {

enum class LongRopePolicy : uint8_t {
  // Chosen once: long if prompt and max_new_tokens together go beyond the original context. Every
  // token is computed once.
  kAdmission,
  // As transformers' Phi3ForCausalLM.generate: short up to the original context; a sequence that
  // grows beyond it is computed anew, once, with the long list.
  kReference,
};

// What an operator who says nothing gets: answers as those of the reference, whatever their length.
// Under kAdmission an unset max_new_tokens means the whole context, so the long list for all.
inline constexpr LongRopePolicy kDefaultLongRopePolicy = LongRopePolicy::kReference;

// Rows of the inverse frequencies.
inline constexpr int kShortRopeList = 0;
inline constexpr int kLongRopeList = 1;

struct RopePlan {
  // What the sequence begins with.
  int list = kShortRopeList;
  // A sequence of more tokens than this is computed anew with the long list; 0: none ever is.
  int switch_above_tokens = 0;

  bool operator==(const RopePlan&) const = default;
};

// `original_context_tokens` is the model's border, 0 for a model that has one list.
constexpr RopePlan PlanRope(LongRopePolicy policy, int original_context_tokens, int prompt_tokens,
                            int max_new_tokens) {
  if (original_context_tokens == 0) return {};
  const bool long_from_start = prompt_tokens > original_context_tokens ||
                               (policy == LongRopePolicy::kAdmission &&
                                int64_t{prompt_tokens} + max_new_tokens > original_context_tokens);
  if (long_from_start) return {.list = kLongRopeList};
  return {
      .list = kShortRopeList,
      .switch_above_tokens = policy == LongRopePolicy::kReference ? original_context_tokens : 0};
}

}  // namespace phalanx

#endif  // PHALANX_MODEL_SPEC_LONG_ROPE_H_
