// Products of bfloat16 in plain loops; bf16_layout.h has the arithmetic.
#ifndef PHALANX_KERNELS_CPU_PORTABLE_BF16_H_
#define PHALANX_KERNELS_CPU_PORTABLE_BF16_H_

#include <cstdint>

#include "kernels/cpu/linear_format.h"

namespace phalanx::kernels::portable {

// Bf16Format::Kernels.
void RoundToBf16(const float* x, int64_t n, uint16_t* to);
void LinearBf16(const LinearTask& task, int64_t group_begin, int64_t group_end);

// LinearBf16's rows of a tile of inputs.
inline constexpr int64_t kBf16TileRows = 8;

}  // namespace phalanx::kernels::portable

#endif  // PHALANX_KERNELS_CPU_PORTABLE_BF16_H_
