// From float32 to quantized types, for weights that are to take less memory than in their file.
#ifndef PHALANX_KERNELS_QUANTIZE_H_
#define PHALANX_KERNELS_QUANTIZE_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "kernels/dtype.h"

namespace phalanx::kernels {

// The nearest float16, the even one of two that are equally near; beyond the largest, infinity.
uint16_t FloatToHalf(float value);

// Writes a row in blocks of kQ8_0 or kQ4_0: RowBytes(dtype, row.size()) bytes; row.size() is a
// multiple of 32. The scale of a block is such that its largest element keeps its value but for the
// rounding of the scale; the others get the nearest level. Infinities and NaN have no such block:
// their elements become zeros of a block that is NaN throughout.
// Source: quantize_row_q8_0_ref and quantize_row_q4_0_ref in ggml-org/llama.cpp, ggml-quants.c.
void QuantizeRow(DType dtype, absl::Span<const float> row, std::byte* to);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_QUANTIZE_H_
