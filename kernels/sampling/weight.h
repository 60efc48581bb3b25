// The arithmetic of the definition in sample.h, shared by its forms for a whole row and for a row
// that is split over ranks, on the host and on GPUs. Only for sources that are compiled so that no
// multiplication is fused with the addition after it.
#ifndef PHALANX_KERNELS_SAMPLING_WEIGHT_H_
#define PHALANX_KERNELS_SAMPLING_WEIGHT_H_

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/host_device.h"
#include "kernels/sampling/philox.h"
#include "kernels/step_batch.h"

namespace phalanx::kernels {

// A weight is at most 2^44, so the sum over 2^19 tokens, the most that a row may have, still fits
// 64 bits.
inline constexpr int kWeightBits = 44;

// The constants of the reduction of an exponent x = n ln 2 + r.
inline constexpr double kLog2E = 1.4426950408889634;
inline constexpr double kLn2High = 0x1.62e42fee00000p-1;  // Few bits: its product with n is exact.
inline constexpr double kLn2Low = 0x1.a39ef35793c76p-33;

// If x is not above this, exp(x) * 2^44 is below 1.
inline constexpr double kLeastWeightExponent = -30.6;

// floor(exp(x) * 2^44) for x <= 0: x = n ln 2 + r with |r| <= ln 2 / 2, then a Taylor polynomial of
// exp(r), even and odd terms apart, whose remainder is below 2^-36. It is written out here, and not
// left to the C library, because libraries differ in the last bit, and tokens would with them.
PHALANX_HOST_DEVICE inline uint64_t ExpWeight(double x) {
  if (!(x > kLeastWeightExponent)) return 0;
  const int n = static_cast<int>(x * kLog2E - 0.5);
  const double r = (x - n * kLn2High) - n * kLn2Low;
  const double r2 = r * r;
  const double even = (((r2 * (1.0 / 40320) + 1.0 / 720) * r2 + 1.0 / 24) * r2 + 0.5) * r2 + 1.0;
  const double odd =
      (((r2 * (1.0 / 362880) + 1.0 / 5040) * r2 + 1.0 / 120) * r2 + 1.0 / 6) * r2 + 1.0;
  const double series = even + r * odd;
  const double scale = std::bit_cast<double>(static_cast<uint64_t>(1023 + kWeightBits + n) << 52);
  return static_cast<uint64_t>(series * scale);
}

// The weights of one row, before any cut.
class Weights {
 public:
  // `max`: the highest logit of the row; `temperature` is above 0.
  PHALANX_HOST_DEVICE Weights(float max, float temperature)
      : max_(max), inverse_temperature_(1.0 / temperature) {}

  PHALANX_HOST_DEVICE uint64_t operator()(float logit) const {
    if (logit == max_) return uint64_t{1} << kWeightBits;
    return ExpWeight((static_cast<double>(logit) - max_) * inverse_temperature_);
  }

  // How far the exponent of a token is below that of the highest logit: y of sample.h.
  PHALANX_HOST_DEVICE double Fall(float logit) const {
    return -((static_cast<double>(logit) - max_) * inverse_temperature_);
  }

  PHALANX_HOST_DEVICE float max() const { return max_; }
  PHALANX_HOST_DEVICE double inverse_temperature() const { return inverse_temperature_; }

 private:
  float max_;
  double inverse_temperature_;
};

// An unsigned number that grows with the logit; equal logits (0 and -0 too) have equal keys. The
// bits of positive floats grow with their value already; those of negative ones grow the other way.
PHALANX_HOST_DEVICE inline uint32_t RankKey(float logit) {
  const uint32_t bits = std::bit_cast<uint32_t>(logit + 0.0f);  // -0 + 0 is 0.
  return bits & 0x80000000 ? ~bits : bits | 0x80000000;
}

// The logit that has this key; 0 and not -0.
PHALANX_HOST_DEVICE inline float LogitOfKey(uint32_t key) {
  return std::bit_cast<float>(key & 0x80000000 ? key & 0x7fffffff : ~key);
}

// Whether top_k drops tokens of a row of `vocab` logits.
PHALANX_HOST_DEVICE inline bool CutsByTopK(const SamplingRow& row, int64_t vocab) {
  return row.top_k > 0 && row.top_k < vocab;
}

PHALANX_HOST_DEVICE inline bool CutsByTopP(const SamplingRow& row) { return row.top_p < 1.0f; }

PHALANX_HOST_DEVICE inline bool CutsByTypicalP(const SamplingRow& row) {
  return row.typical_p < 1.0f;
}

// What the weights that top_p or typical_p keeps must sum to; `sum` is that of all weights.
PHALANX_HOST_DEVICE inline uint64_t WeightNeeded(float part, uint64_t sum) {
  const double wanted = std::ceil(static_cast<double>(part) * static_cast<double>(sum));
  return wanted > 1.0 ? static_cast<uint64_t>(wanted) : 1;
}

// The least weight that min_p keeps.
PHALANX_HOST_DEVICE inline uint64_t LeastWeight(float min_p) {
  return static_cast<uint64_t>(
      std::ceil(static_cast<double>(min_p) * static_cast<double>(uint64_t{1} << kWeightBits)));
}

// For typical_p. What a token of this weight, above 0, and fall adds to the sum T of sample.h; the
// mean of the falls; and an unsigned number that grows as the distance from the mean gets less.
PHALANX_HOST_DEVICE inline uint64_t WeightedFall(uint64_t weight, double fall) {
  return static_cast<uint64_t>(static_cast<double>(weight) * fall);
}
PHALANX_HOST_DEVICE inline double MeanFall(uint64_t weights, uint64_t weighted_falls) {
  return static_cast<double>(weighted_falls) / static_cast<double>(weights);
}
PHALANX_HOST_DEVICE inline uint32_t TypicalKey(double fall, double mean) {
  return ~std::bit_cast<uint32_t>(static_cast<float>(std::fabs(fall - mean)));
}

// floor(u * sum / 2^64) for the random number u of the row: the running sum of weights at the token
// that is drawn is the first one above this.
PHALANX_HOST_DEVICE inline uint64_t DrawTarget(const SamplingRow& row, uint64_t sum) {
  const auto words =
      Philox4x32({static_cast<uint32_t>(row.position), 0, 0, 0},
                 {static_cast<uint32_t>(row.seed), static_cast<uint32_t>(row.seed >> 32)});
  const uint64_t u = words[0] | static_cast<uint64_t>(words[1]) << 32;
  return static_cast<uint64_t>(static_cast<unsigned __int128>(u) * sum >> 64);
}

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_SAMPLING_WEIGHT_H_
