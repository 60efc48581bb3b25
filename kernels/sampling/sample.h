// Sampling, defined to the bit, so that the same logits, seed and position give the same token on
// every backend and in every batch.
//
// Tokens are ranked by logit, highest first, and by id, lowest first, among equal logits. A row in
// which a logit is NaN or +infinity, or all are -infinity, comes from a model that does not work:
// it has no token (kNoToken), at any temperature. A token of -infinity is never drawn.
//
// A row whose token is forced has that token, and what follows does not matter. Before all of this
// a row may have been changed as logit_edit.h defines.
//
//  1. temperature: token i weighs w[i] = floor(2^44 * exp((logit[i] - max) * (1 / temperature))),
//     in double arithmetic with the exponential of sample.cc, 2^44 if logit[i] = max; the sums
//     below are of integers, and so the same in any order. A token 2^44 times less likely than the
//     best one is never drawn.
//  2. top_k: only the k first in rank keep their weight; 0 or at least vocab keeps all.
//  3. top_p: of those, the fewest first in rank keep theirs whose sum is at least
//     ceil(top_p * sum of all that top_k kept), and at least one; 1 or more keeps all.
//  4. min_p: a token keeps its weight if it is at least ceil(min_p * 2^44); 0 keeps all.
//  5. typical_p: with the exponents y[i] = -(logit[i] - max) * (1 / temperature) of step 1, the
//  mean
//     M = T / S in double for the sums S of the weights w[i] kept so far and T of
//     floor(double(w[i]) * y[i]), tokens are ranked by the distance |y[i] - M|, rounded to float,
//     lowest first, and by id, lowest first. The fewest first in this rank keep their weights whose
//     sum is at least ceil(typical_p * S), and at least one; 1 or more keeps all. As -ln p[i] is
//     y[i] plus a constant, |y[i] - M| is how far the surprise of a token is from the entropy:
//     https://arxiv.org/abs/2202.00666, in the form of TypicalLogitsWarper of Hugging Face's
//     transformers.
//  6. draw: u = the first two words of Philox4x32-10 with key = seed, counter = position (low
//     words first); r = floor(u * S / 2^64) for the sum S of the kept weights; the token is the
//     first one, by id, at which the running sum of kept weights is above r.
//
// Temperature 0 takes the first token in rank and ignores the rest.
//
// A backend keeps these bits only if its compiler keeps to IEEE 754 in float64, as written: every
// operation is rounded by itself, to nearest. It must fuse no product with a sum (gcc and clang:
// -ffp-contract=off; nvcc: -fmad=false), reorder no sums, replace no division by a product with an
// approximate reciprocal and flush no subnormal numbers to zero (never -ffast-math or
// -use_fast_math; nvcc: -prec-div=true -ftz=false). Conversions to whole numbers truncate, and
// comparisons see NaN.
//
// sharded_sample.h draws the same token where the logits of a row are split over ranks.
#ifndef PHALANX_KERNELS_SAMPLING_SAMPLE_H_
#define PHALANX_KERNELS_SAMPLING_SAMPLE_H_

#include <cstdint>

#include "absl/types/span.h"
#include "kernels/ops.h"

namespace phalanx::kernels {

// What is drawn from logits that are no numbers.
inline constexpr int32_t kNoToken = -1;

// `logits` holds 1 to 2^19 values. Thread-safe; allocates nothing.
int32_t SampleToken(absl::Span<const float> logits, const SamplingRow& row);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_SAMPLING_SAMPLE_H_
