// A block of a quantized type taken apart into its integers. All quantized types can be written in
// this one form, so that what comes after need not know how each of them lays out its bits.
#ifndef PHALANX_KERNELS_QUANT_BLOCK_H_
#define PHALANX_KERNELS_QUANT_BLOCK_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/dtype.h"

namespace phalanx::kernels {

// Element k of a block, in sub-block s = k / SubBlockElements(dtype), has the value
//   (d * scales[s]) * level + (m * minimums[s]),   level = QuantLevel(dtype, codes[k]).
// All three products are exact in float32; the sum is rounded once.
struct QuantBlock {
  static constexpr int kMaxElements = 256;
  static constexpr int kMaxSubBlocks = 16;

  uint16_t d = 0;       // f16.
  uint16_t m = 0x8000;  // f16; negative zero, which a sum ignores, where a type has no minimum.
  // Scales and minimums are all 1 in types without sub-blocks.
  std::array<int8_t, kMaxSubBlocks> scales = {};
  std::array<uint8_t, kMaxSubBlocks> minimums = {};
  std::array<uint8_t, kMaxElements> codes = {};
};

// Elements that share a scale.
constexpr int SubBlockElements(DType dtype) {
  switch (dtype) {
    case DType::kQ2_K:
    case DType::kQ3_K:
    case DType::kQ6_K:
      return 16;
    default:
      return 32;
  }
}

// Whether values have a minimum beside their scale.
constexpr bool HasMinimum(DType dtype) {
  switch (dtype) {
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ2_K:
    case DType::kQ4_K:
    case DType::kQ5_K:
      return true;
    default:
      return false;
  }
}

// Bits of a code.
constexpr int CodeBits(DType dtype) {
  switch (dtype) {
    case DType::kQ2_K:
      return 2;
    case DType::kQ3_K:
      return 3;
    case DType::kQ5_0:
    case DType::kQ5_1:
    case DType::kQ5_K:
      return 5;
    case DType::kQ6_K:
      return 6;
    case DType::kQ8_0:
      return 8;
    default:
      return 4;
  }
}

// The levels that the codes of kIQ4_NL stand for: they are not evenly spaced, but closer near zero.
// Source: kvalues_iq4nl in ggml-org/llama.cpp, ggml/src/ggml-common.h.
inline constexpr std::array<int8_t, 16> kIq4NlLevels = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                        1,    13,   25,  38,  53,  69,  89,  113};

// The code that stands for level zero. In all types but kIQ4_NL, level = code - CodeOfZero.
constexpr int CodeOfZero(DType dtype) {
  switch (dtype) {
    case DType::kQ3_K:
      return 4;
    case DType::kQ4_0:
      return 8;
    case DType::kQ5_0:
      return 16;
    case DType::kQ6_K:
      return 32;
    case DType::kQ8_0:
      return 128;
    default:
      return 0;
  }
}

constexpr int QuantLevel(DType dtype, uint8_t code) {
  return dtype == DType::kIQ4_NL ? kIq4NlLevels[code] : code - CodeOfZero(dtype);
}

// `dtype` is a quantized type; `from` need not be aligned.
QuantBlock ReadQuantBlock(DType dtype, const std::byte* from);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_QUANT_BLOCK_H_
