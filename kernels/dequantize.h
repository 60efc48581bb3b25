// From the element types of model files to float32, bit for bit as ggml does it.
#ifndef PHALANX_KERNELS_DEQUANTIZE_H_
#define PHALANX_KERNELS_DEQUANTIZE_H_

#include <cstddef>
#include <cstdint>

#include "kernels/dtype.h"

namespace phalanx::kernels {

// Both are exact, for subnormal numbers, infinities and NaN too.
float HalfToFloat(uint16_t half);
float BFloat16ToFloat(uint16_t bfloat16);

// Writes `elements` floats to `out`. `from` need not be aligned; `elements` is a multiple of
// BlockElements(dtype). What a quantized block means is told at QuantBlock.
void Dequantize(DType dtype, const std::byte* from, int64_t elements, float* out);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_DEQUANTIZE_H_
