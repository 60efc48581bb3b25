// The logarithm of the probability that a model gives to a token:
//
//   ln softmax(logits)[target] = logits[target] - max - ln(sum of exp(logits[i] - max)),
//
// in float64, rounded to float32 once. The sum is one of integers and so does not depend on its
// order, or on how the logits are split over ranks: each exponential, by the arithmetic of
// exp_sum.h, is cut off at the 88th binary place and counted in units of 2^-88. It is kept in two
// words, value = high * 2^-44 + low * 2^-88; one exponential has a `low` below 2^44 and a `high` of
// at most 2^44, so the words of 2^19 tokens, the most that a row may have, add without a carry.
//
// What sample.h says of the arithmetic of weights holds for the exponentials too. The logarithm at
// the end is that of the C library, so two backends may differ in the last bit of a result.
#ifndef PHALANX_KERNELS_SAMPLING_LOG_PROB_H_
#define PHALANX_KERNELS_SAMPLING_LOG_PROB_H_

#include <array>
#include <cstdint>

#include "absl/types/span.h"
#include "kernels/ops.h"
#include "kernels/sampling/logit_kernels.h"

namespace phalanx::kernels {

// The sum of exp(logit - max) over `logits`, a row or a part of one; `max` is the highest of the
// row and finite, and no logit is NaN.
ExpSum SumOfExponentials(absl::Span<const float> logits, float max,
                         const LogitKernels& kernels = ScalarLogitKernels());

// A row's words of Backend::LogProbTerms and what Backend::CombineLogProbs makes of them.
// `target` is an id of the whole vocabulary; `logits` are those of the ids from `first_id` on.
std::array<uint64_t, kLogProbTerms> LogProbTermsOf(
    absl::Span<const float> logits, int64_t first_id, int32_t target, uint64_t maximum,
    const LogitKernels& kernels = ScalarLogitKernels());
float CombinedLogProb(uint64_t maximum, const uint64_t* terms);

// ln softmax(logits)[target]. `logits` are not empty. NaN if one is NaN or +infinity, or all are
// -infinity.
float LogProb(absl::Span<const float> logits, int32_t target);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_SAMPLING_LOG_PROB_H_
