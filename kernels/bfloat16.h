// The 16-bit float type of accelerators: the upper half of a float32.
#ifndef PHALANX_KERNELS_BFLOAT16_H_
#define PHALANX_KERNELS_BFLOAT16_H_

#include <bit>
#include <cmath>
#include <cstdint>

namespace phalanx::kernels {

// Rounds to the nearest, to even in the middle between two, as accelerators do. Beyond the largest
// it is infinity; NaN stays NaN.
inline uint16_t FloatToBFloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  // Adding to a NaN could carry into its sign, and cutting its lower half off could make it an
  // infinity.
  if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_BFLOAT16_H_
