// Element types of weights and activations, and the sizes of their blocks.
#ifndef PHALANX_KERNELS_DTYPE_H_
#define PHALANX_KERNELS_DTYPE_H_

#include <cstddef>
#include <cstdint>

namespace phalanx::kernels {

// The quantized types are ggml's: blocks of 32 elements along a row. In file order:
//   kQ4_0  f16 d, u8 qs[16]           value = d * (q - 8)
//   kQ4_1  f16 d, f16 m, u8 qs[16]    value = d * q + m
//   kQ8_0  f16 d, i8 qs[32]           value = d * q
// Byte j of qs of a 4-bit type holds element j in its low and element j + 16 in its high nibble.
// Source: ggml-org/llama.cpp, ggml/src/ggml-common.h and dequantize_row_* in ggml-quants.c.
enum class DType : uint8_t { kF32, kF16, kBF16, kQ4_0, kQ4_1, kQ8_0 };

// Elements in the smallest unit that can be cut out of a row: 1 or 32.
constexpr int BlockElements(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
      return 1;
    case DType::kQ4_0:
    case DType::kQ4_1:
    case DType::kQ8_0:
      return 32;
  }
  return 0;
}

// Bytes of that unit.
constexpr size_t BlockBytes(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return 4;
    case DType::kF16:
    case DType::kBF16:
      return 2;
    case DType::kQ4_0:
      return 18;
    case DType::kQ4_1:
      return 20;
    case DType::kQ8_0:
      return 34;
  }
  return 0;
}

// Bytes of `elements` in a row; `elements` must be a multiple of BlockElements(dtype).
constexpr size_t RowBytes(DType dtype, int64_t elements) {
  return static_cast<size_t>(elements / BlockElements(dtype)) * BlockBytes(dtype);
}

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_DTYPE_H_
