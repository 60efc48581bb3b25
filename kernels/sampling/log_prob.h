// The logarithm of the probability that a model gives to a token.
#ifndef PHALANX_KERNELS_SAMPLING_LOG_PROB_H_
#define PHALANX_KERNELS_SAMPLING_LOG_PROB_H_

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "absl/types/span.h"

namespace phalanx::kernels {

// ln softmax(logits)[target]. `logits` are not empty. NaN if one is NaN or +infinity, or all are
// -infinity.
inline float LogProb(absl::Span<const float> logits, int32_t target) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - max);
  return static_cast<float>(logits[target] - max - std::log(sum));
}

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_SAMPLING_LOG_PROB_H_
