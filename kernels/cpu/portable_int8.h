// Products of 8-bit integers in plain loops; int8_layout.h has the arithmetic.
#ifndef PHALANX_KERNELS_CPU_PORTABLE_INT8_H_
#define PHALANX_KERNELS_CPU_PORTABLE_INT8_H_

#include <cstdint>

#include "kernels/cpu/int8_layout.h"
#include "kernels/cpu/linear_format.h"

namespace phalanx::kernels::portable {

// Int8Format::Kernels.
void QuantizeBlocks(const float* x, int blocks, int8_t* levels, int64_t stride,
                    int8::QuantizedBlocks& to);
void LinearInt8(const LinearTask& task, int64_t group_begin, int64_t group_end);

}  // namespace phalanx::kernels::portable

#endif  // PHALANX_KERNELS_CPU_PORTABLE_INT8_H_
