#include "kernels/quantize.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/dequantize.h"

namespace phalanx::kernels {
namespace {

constexpr int kBlock = 32;

// The element of the largest size, with its sign; NaN if one is that.
float Largest(const float* block) {
  float largest = 0.0f;
  for (int i = 0; i < kBlock; ++i) {
    if (std::isnan(block[i])) return block[i];
    if (std::abs(block[i]) > std::abs(largest)) largest = block[i];
  }
  return largest;
}

// Writes the scale and returns the inverse of what it has become.
float WriteScale(float scale, std::byte* to) {
  const uint16_t half = FloatToHalf(scale);
  std::memcpy(to, &half, sizeof(half));
  const float stored = HalfToFloat(half);
  return stored == 0.0f || !std::isfinite(stored) ? 0.0f : 1.0f / stored;
}

int Level(float value, int least, int most) {
  return std::clamp(static_cast<int>(std::lrint(value)), least, most);
}

// d, i8 qs[32].
void QuantizeQ8(const float* block, std::byte* to) {
  const float inverse = WriteScale(std::abs(Largest(block)) / 127, to);
  for (int i = 0; i < kBlock; ++i) {
    to[2 + i] = static_cast<std::byte>(inverse == 0 ? 0 : Level(block[i] * inverse, -127, 127));
  }
}

// d, u8 qs[16]: element i in the low half of byte i, element i + 16 in the high one. The largest
// element is the one of level -8, whatever its sign, as there is one negative level more.
void QuantizeQ4(const float* block, std::byte* to) {
  const float inverse = WriteScale(Largest(block) / -8, to);
  const auto code = [&](int i) { return inverse == 0 ? 8 : Level(block[i] * inverse, -8, 7) + 8; };
  for (int i = 0; i < kBlock / 2; ++i) {
    to[2 + i] = static_cast<std::byte>(code(i) | code(i + kBlock / 2) << 4);
  }
}

}  // namespace

uint16_t FloatToHalf(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const float size = std::abs(value);
  if (std::isnan(value)) return sign | 0x7e00;
  if (size >= 65520.0f) return sign | 0x7c00;
  // Below 2^-14 a float16 is a whole number of 2^-24. Rounding may give the first one above.
  if (size < 0x1p-14f) return static_cast<uint16_t>(sign | std::lrint(size * 0x1p24f));
  const uint32_t rounded = (bits & 0x7fffffff) + 0xfff + (bits >> 13 & 1);
  return static_cast<uint16_t>(sign | ((rounded >> 13) - ((127 - 15) << 10)));
}

void QuantizeRow(DType dtype, absl::Span<const float> row, std::byte* to) {
  for (size_t i = 0; i < row.size(); i += kBlock, to += BlockBytes(dtype)) {
    if (dtype == DType::kQ8_0) {
      QuantizeQ8(&row[i], to);
    } else {
      QuantizeQ4(&row[i], to);
    }
  }
}

}  // namespace phalanx::kernels
