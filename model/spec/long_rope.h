// Which of a LongRoPE model's two lists of rotary factors a sequence uses.
#ifndef PHALANX_MODEL_SPEC_LONG_ROPE_H_
#define PHALANX_MODEL_SPEC_LONG_ROPE_H_

#include <cstdint>

namespace phalanx {

enum class LongRopePolicy : uint8_t {
  // The list is chosen once: the long one if prompt and max_new_tokens together are more than the
  // original context. Every token is computed once.
  kAdmission,
  // As transformers' Phi3ForCausalLM.generate does: the short list up to the original context. A
  // sequence that grows beyond it is computed anew, once, with the long list.
  kReference,
};

// The policy if the operator does not choose: answers are those of the reference, whatever their
// length. Under kAdmission an unset max_new_tokens means the whole context, and so the long list
// for all.
inline constexpr LongRopePolicy kDefaultLongRopePolicy = LongRopePolicy::kReference;

// The rows of the table of inverse frequencies.
inline constexpr int kShortRopeList = 0;
inline constexpr int kLongRopeList = 1;

struct RopePlan {
  // The list that the sequence begins with.
  int list = kShortRopeList;
  // A sequence is computed anew with the long list when it has more tokens than this. 0 if it never
  // is.
  int switch_above_tokens = 0;

  bool operator==(const RopePlan&) const = default;
};

// `original_context_tokens` is the number of tokens beyond which the model uses its long list; 0
// for a model that has one list.
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
