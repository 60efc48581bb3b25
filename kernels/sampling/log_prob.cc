#include "kernels/sampling/log_prob.h"

#include <bit>
#include <cmath>
#include <limits>

#include "kernels/sampling/sharded_sample.h"

namespace phalanx::kernels {
namespace {

// Adds floor(exp(x) * 2^88) for x <= 0. As ExpWeight in weight.h, with a polynomial of degree 13,
// whose remainder is below 2^-57: x = n ln 2 + r with |r| <= ln 2 / 2.
void AddExponential(double x, ExpSum& sum) {
  // If x is not above this, exp(x) * 2^88 is below 1.
  constexpr double kLeastExponent = -61.0;
  if (!(x > kLeastExponent)) return;
  constexpr double kLog2E = 1.4426950408889634;
  constexpr double kLn2High = 0x1.62e42fee00000p-1;  // Few bits: its product with n is exact.
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  const int n = static_cast<int>(x * kLog2E - 0.5);
  const double r = (x - n * kLn2High) - n * kLn2Low;
  const double r2 = r * r;
  double even = 1.0 / 479001600;
  for (const double term : {1.0 / 3628800, 1.0 / 40320, 1.0 / 720, 1.0 / 24, 0.5, 1.0}) {
    even = even * r2 + term;
  }
  double odd = 1.0 / 6227020800;
  for (const double term : {1.0 / 39916800, 1.0 / 362880, 1.0 / 5040, 1.0 / 120, 1.0 / 6, 1.0}) {
    odd = odd * r2 + term;
  }
  const double series = even + r * odd;
  // A product with a power of two and the difference to a whole number below it are exact.
  const double scaled = series * std::bit_cast<double>(static_cast<uint64_t>(1023 + 44 + n) << 52);
  const auto high = static_cast<uint64_t>(scaled);
  sum.high += high;
  sum.low += static_cast<uint64_t>((scaled - static_cast<double>(high)) * 0x1p44);
}

}  // namespace

ExpSum SumOfExponentials(absl::Span<const float> logits, float max) {
  ExpSum sum;
  for (const float logit : logits) AddExponential(static_cast<double>(logit) - max, sum);
  return sum;
}

std::array<uint64_t, kLogProbTerms> LogProbTermsOf(absl::Span<const float> logits, int64_t first_id,
                                                   int32_t target, uint64_t maximum) {
  if (!HasToken(maximum)) return {};
  const ExpSum sum = SumOfExponentials(logits, HighestLogit(maximum));
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
