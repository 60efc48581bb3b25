#include "kernels/sampling/log_prob.h"

#include <bit>
#include <cmath>
#include <limits>

#include "kernels/sampling/sharded_sample.h"

namespace phalanx::kernels {

ExpSum SumOfExponentials(absl::Span<const float> logits, float max, const LogitKernels& kernels) {
  ExpSum sum;
  kernels.add_exponentials(logits.data(), static_cast<int64_t>(logits.size()), max, &sum);
  return sum;
}

std::array<uint64_t, kLogProbTerms> LogProbTermsOf(absl::Span<const float> logits, int64_t first_id,
                                                   int32_t target, uint64_t maximum,
                                                   const LogitKernels& kernels) {
  if (!HasToken(maximum)) return {};
  const ExpSum sum = SumOfExponentials(logits, HighestLogit(maximum), kernels);
  const int64_t i = target - first_id;
  const bool owns = i >= 0 && i < static_cast<int64_t>(logits.size());
  return {sum.high, sum.low, owns ? std::bit_cast<uint32_t>(logits[i]) : 0};
}

float CombinedLogProb(uint64_t maximum, const uint64_t* terms) {
  if (!HasToken(maximum)) return std::numeric_limits<float>::quiet_NaN();
  const double sum =
      static_cast<double>(terms[0]) * 0x1p-44 + static_cast<double>(terms[1]) * 0x1p-88;
  const double logit = std::bit_cast<float>(static_cast<uint32_t>(terms[2]));
  return static_cast<float>(logit - HighestLogit(maximum) - std::log(sum));
}

float LogProb(absl::Span<const float> logits, int32_t target) {
  const uint64_t maximum = MaximumOf(logits, 0);
  return CombinedLogProb(maximum, LogProbTermsOf(logits, 0, target, maximum).data());
}

}  // namespace phalanx::kernels
