// The sum of exponentials that log_prob.h defines, on the host and on GPUs. Only for sources that
// are compiled so that no multiplication is fused with the addition after it.
#ifndef PHALANX_KERNELS_SAMPLING_EXP_SUM_H_
#define PHALANX_KERNELS_SAMPLING_EXP_SUM_H_

#include <bit>
#include <cstdint>

#include "kernels/host_device.h"
#include "kernels/sampling/weight.h"

namespace phalanx::kernels {

// If x is not above this, exp(x) * 2^88 is below 1.
inline constexpr double kLeastSumExponent = -61.0;

// Adds floor(exp(x) * 2^88) for x <= 0, in the two words that log_prob.h tells of. As ExpWeight in
// weight.h, with a polynomial of degree 13, whose remainder is below 2^-57: x = n ln 2 + r with |r|
// <= ln 2 / 2.
PHALANX_HOST_DEVICE inline void AddExponential(double x, uint64_t& sum_high, uint64_t& sum_low) {
  if (!(x > kLeastSumExponent)) return;
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
  sum_high += high;
  sum_low += static_cast<uint64_t>((scaled - static_cast<double>(high)) * 0x1p44);
}

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_SAMPLING_EXP_SUM_H_
