#include "kernels/dequantize.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/quant_block.h"

namespace phalanx::kernels {
namespace {

uint16_t Load16(const std::byte* from) {
  uint16_t bits;
  std::memcpy(&bits, from, sizeof(bits));
  return bits;
}

// The formula at QuantBlock. Its products are exact, so the bits are the same whether or not a
// compiler fuses a product with the sum after it.
void DequantizeBlock(DType dtype, const std::byte* from, float* out) {
  const QuantBlock block = ReadQuantBlock(dtype, from);
  const float d = HalfToFloat(block.d);
  const float m = HalfToFloat(block.m);
  const int sub_block = SubBlockElements(dtype);
  for (int s = 0; s < BlockElements(dtype) / sub_block; ++s) {
    const float scale = d * static_cast<float>(block.scales[s]);
    const float minimum = m * static_cast<float>(block.minimums[s]);
    for (int k = s * sub_block; k < (s + 1) * sub_block; ++k) {
      out[k] = scale * static_cast<float>(QuantLevel(dtype, block.codes[k])) + minimum;
    }
  }
}

}  // namespace

float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = (half >> 10) & 0x1f;
  const uint32_t mantissa = half & 0x3ff;
  // Zero or a subnormal, mantissa * 2^-24, which is a normal float.
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  // Infinities and NaN keep an exponent of all ones; other exponents move from a bias of 15 to 127.
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
      default:
        DequantizeBlock(dtype, from, out + i);
        break;
    }
  }
}

}  // namespace phalanx::kernels
