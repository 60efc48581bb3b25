// Element types of weights and activations, and the sizes of their blocks.
#ifndef PHALANX_KERNELS_DTYPE_H_
#define PHALANX_KERNELS_DTYPE_H_

#include <cstddef>
#include <cstdint>

namespace phalanx::kernels {

// The quantized types are ggml's: blocks of 32 or 256 elements along a row. A block has these
// fields, in the order in which they lie in a file; d, m and dmin are f16:
//   kQ4_0    d, u8 qs[16]                                  value = d * (q - 8)
//   kQ4_1    d, m, u8 qs[16]                               value = d * q + m
//   kQ5_0    d, u8 qh[4], u8 qs[16]                        value = d * (q - 16)
//   kQ5_1    d, m, u8 qh[4], u8 qs[16]                     value = d * q + m
//   kQ8_0    d, i8 qs[32]                                  value = d * q
//   kQ2_K    u8 scales[16], u8 qs[64], d, dmin             value = d * sc * q - dmin * mn
//   kQ3_K    u8 hmask[32], u8 qs[64], u8 scales[12], d     value = d * (sc - 32) * (q - 4)
//   kQ4_K    d, dmin, u8 scales[12], u8 qs[128]            value = d * sc * q - dmin * mn
//   kQ5_K    d, dmin, u8 scales[12], u8 qh[32], u8 qs[128] value = d * sc * q - dmin * mn
//   kQ6_K    u8 ql[128], u8 qh[64], i8 scales[16], d       value = d * sc * (q - 32)
//   kIQ4_NL  d, u8 qs[16]                                  value = d * level[q]
// sc and mn belong to a sub-block: 32 elements in kQ4_K and kQ5_K, 16 in the other K types.
// Source: ggml-org/llama.cpp, ggml/src/ggml-common.h and dequantize_row_* in ggml-quants.c; how the
// bits lie is in quant_block.cc.
enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL,
};

inline constexpr DType kAllDTypes[] = {DType::kF32,  DType::kF16,   DType::kBF16, DType::kQ4_0,
                                       DType::kQ4_1, DType::kQ5_0,  DType::kQ5_1, DType::kQ8_0,
                                       DType::kQ2_K, DType::kQ3_K,  DType::kQ4_K, DType::kQ5_K,
                                       DType::kQ6_K, DType::kIQ4_NL};

// What a type is and how much of it can be cut out of a row.
struct DTypeTraits {
  const char* name;
  int block_elements;  // The smallest unit that can be cut out of a row: 1, 32 or 256.
  size_t block_bytes;  // Bytes that block_elements elements take.
};

constexpr DTypeTraits TraitsOf(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return {"F32", 1, 4};
    case DType::kF16:
      return {"F16", 1, 2};
    case DType::kBF16:
      return {"BF16", 1, 2};
    case DType::kQ4_0:
      return {"Q4_0", 32, 18};
    case DType::kQ4_1:
      return {"Q4_1", 32, 20};
    case DType::kQ5_0:
      return {"Q5_0", 32, 22};
    case DType::kQ5_1:
      return {"Q5_1", 32, 24};
    case DType::kQ8_0:
      return {"Q8_0", 32, 34};
    case DType::kQ2_K:
      return {"Q2_K", 256, 84};
    case DType::kQ3_K:
      return {"Q3_K", 256, 110};
    case DType::kQ4_K:
      return {"Q4_K", 256, 144};
    case DType::kQ5_K:
      return {"Q5_K", 256, 176};
    case DType::kQ6_K:
      return {"Q6_K", 256, 210};
    case DType::kIQ4_NL:
      return {"IQ4_NL", 32, 18};
  }
  return {"unknown", 0, 0};
}

// As GGUF spells it, for messages.
constexpr const char* DTypeName(DType dtype) { return TraitsOf(dtype).name; }

constexpr int BlockElements(DType dtype) { return TraitsOf(dtype).block_elements; }
constexpr size_t BlockBytes(DType dtype) { return TraitsOf(dtype).block_bytes; }

// Whether elements are stored as integers with a scale for a whole block of them.
constexpr bool IsQuantized(DType dtype) { return BlockElements(dtype) > 1; }

// Bytes of `elements` in a row; `elements` must be a multiple of BlockElements(dtype).
constexpr size_t RowBytes(DType dtype, int64_t elements) {
  return static_cast<size_t>(elements / BlockElements(dtype)) * BlockBytes(dtype);
}

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_DTYPE_H_
