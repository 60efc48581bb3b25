#include "kernels/dequantize.h"

#include <bit>
#include <cmath>
#include <cstring>

namespace phalanx::kernels {
namespace {

uint16_t Load16(const std::byte* from) {
  uint16_t bits;
  std::memcpy(&bits, from, sizeof(bits));
  return bits;
}

// Nibbles of a 4-bit block: the low ones are elements 0..15, the high ones 16..31.
int LowNibble(std::byte b) { return std::to_integer<int>(b & std::byte{15}); }
int HighNibble(std::byte b) { return std::to_integer<int>(b >> 4); }

void DequantizeQ4_0(const std::byte* block, float* out) {
  const float d = HalfToFloat(Load16(block));
  const std::byte* qs = block + 2;
  for (int j = 0; j < 16; ++j) {
    out[j] = static_cast<float>(LowNibble(qs[j]) - 8) * d;
    out[j + 16] = static_cast<float>(HighNibble(qs[j]) - 8) * d;
  }
}

void DequantizeQ4_1(const std::byte* block, float* out) {
  const float d = HalfToFloat(Load16(block));
  const float m = HalfToFloat(Load16(block + 2));
  const std::byte* qs = block + 4;
  for (int j = 0; j < 16; ++j) {
    out[j] = static_cast<float>(LowNibble(qs[j])) * d + m;
    out[j + 16] = static_cast<float>(HighNibble(qs[j])) * d + m;
  }
}

void DequantizeQ8_0(const std::byte* block, float* out) {
  const float d = HalfToFloat(Load16(block));
  const std::byte* qs = block + 2;
  for (int j = 0; j < 32; ++j) {
    out[j] = static_cast<float>(static_cast<int8_t>(qs[j])) * d;
  }
}

}  // namespace

float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = (half >> 10) & 0x1f;
  const uint32_t mantissa = half & 0x3ff;
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  const uint32_t wide = exponent == 31 ? 255 : exponent + (127 - 15);
  return std::bit_cast<float>(sign | wide << 23 | mantissa << 13);
}

float BFloat16ToFloat(uint16_t bfloat16) {
  return std::bit_cast<float>(static_cast<uint32_t>(bfloat16) << 16);
}

void Dequantize(DType dtype, const std::byte* from, int64_t elements, float* out) {
  const size_t block_bytes = BlockBytes(dtype);
  const int block_elements = BlockElements(dtype);
  for (int64_t i = 0; i < elements; i += block_elements, from += block_bytes) {
    switch (dtype) {
      case DType::kF32:
        std::memcpy(out + i, from, sizeof(float));
        break;
      case DType::kF16:
        out[i] = HalfToFloat(Load16(from));
        break;
      case DType::kBF16:
        out[i] = BFloat16ToFloat(Load16(from));
        break;
      case DType::kQ4_0:
        DequantizeQ4_0(from, out + i);
        break;
      case DType::kQ4_1:
        DequantizeQ4_1(from, out + i);
        break;
      case DType::kQ8_0:
        DequantizeQ8_0(from, out + i);
        break;
    }
  }
}

}  // namespace phalanx::kernels
