// Products of 8-bit integers in plain loops; int8_layout.h has the arithmetic.
#ifndef PHALANX_KERNELS_CPU_PORTABLE_INT8_H_
#define PHALANX_KERNELS_CPU_PORTABLE_INT8_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/int8_layout.h"
#include "kernels/cpu/linear_format.h"

namespace phalanx::kernels::portable {

// D and M of one output in a sub-block.
struct Scale {
  float d;
  float m;
};

// Unpacked weights of one block of inputs for a group of outputs: codes, and the scales of up to
// two sub-blocks.
struct UnpackedUnit {
  std::array<std::array<uint8_t, int8::kGroupRows>, int8::kBlockInputs> codes;
  std::array<std::array<Scale, int8::kGroupRows>, 2> scales;
};

// Unpacks block b of inputs of a group of outputs, which lies at `group` in a matrix of
// in_features.
UnpackedUnit Unpack(DType dtype, const std::byte* group, int64_t in_features, int64_t b);

// Int8Format::Kernels.
void QuantizeBlocks(const float* x, int blocks, int8_t* levels, int64_t stride,
                    int8::QuantizedBlocks& to);
void LinearInt8(const LinearTask& task, int64_t group_begin, int64_t group_end);

}  // namespace phalanx::kernels::portable

#endif  // PHALANX_KERNELS_CPU_PORTABLE_INT8_H_
