#include "kernels/testing/random_linear.h"

#include <cstring>

#include "kernels/dequantize.h"

namespace phalanx::kernels {
namespace {

// A half below 2^highest_exponent in size: random sign and mantissa, and one of the three exponents
// below that bound. RandomBFloat16 gives such numbers below 1.
uint16_t RandomHalf(std::mt19937& random, int highest_exponent) {
  const uint32_t exponent = 15 + highest_exponent - 1 - random() % 3;
  return static_cast<uint16_t>((random() & 0x8000) | exponent << 10 | (random() & 0x3ff));
}
uint16_t RandomBFloat16(std::mt19937& random) {
  const uint32_t exponent = 126 - random() % 3;
  return static_cast<uint16_t>((random() & 0x8000) | exponent << 7 | (random() & 0x7f));
}

// Where a block of a quantized type keeps its scale d and its minimum m, -1 if it has none, and
// which powers of two these stay below. The powers are chosen so that weights stay below about 1.
struct Header {
  int d_at;
  int d_exponent;
  int m_at = -1;
  int m_exponent = 0;
};
Header HeaderOf(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
      break;
    case DType::kQ4_0:
      return {0, -3};
    case DType::kQ4_1:
      return {0, -3, 2, 0};
    case DType::kQ5_0:
      return {0, -4};
    case DType::kQ5_1:
      return {0, -4, 2, 0};
    case DType::kQ8_0:
    case DType::kIQ4_NL:
      return {0, -7};
    case DType::kQ2_K:
      return {80, -5, 82, -4};
    case DType::kQ3_K:
      return {108, -7};
    case DType::kQ4_K:
      return {0, -9, 2, -6};
    case DType::kQ5_K:
      return {0, -10, 2, -6};
    case DType::kQ6_K:
      return {208, -12};
  }
  return {0, 0};
}

void FillBlock(DType dtype, std::mt19937& random, std::byte* block) {
  if (dtype == DType::kF32) {
    const float value = std::uniform_real_distribution<float>(-1.0f, 1.0f)(random);
    std::memcpy(block, &value, sizeof(value));
    return;
  }
  for (size_t i = 0; i < BlockBytes(dtype); ++i) block[i] = static_cast<std::byte>(random());
  const Header header = HeaderOf(dtype);
  const uint16_t d =
      dtype == DType::kBF16 ? RandomBFloat16(random) : RandomHalf(random, header.d_exponent);
  std::memcpy(block + header.d_at, &d, sizeof(d));
  if (header.m_at >= 0) {
    const uint16_t m = RandomHalf(random, header.m_exponent);
    std::memcpy(block + header.m_at, &m, sizeof(m));
  }
}

}  // namespace

RandomLinear::RandomLinear(DType dtype, int64_t in_features, int64_t out_features, int seed)
    : dtype_(dtype), in_features_(in_features) {
  const size_t row_bytes = RowBytes(dtype, in_features);
  // Begins at an odd address, since rows in model files need not be aligned.
  bytes_.resize(1 + row_bytes * out_features);
  std::mt19937 random(seed);
  for (size_t at = 1; at < bytes_.size(); at += BlockBytes(dtype)) {
    FillBlock(dtype, random, bytes_.data() + at);
  }
  for (int64_t i = 0; i < out_features; ++i) rows_.push_back(bytes_.data() + 1 + i * row_bytes);
}

LinearSource RandomLinear::source() const { return {dtype_, in_features_, rows_}; }

std::vector<float> RandomLinear::Row(int64_t output) const {
  std::vector<float> row(in_features_);
  Dequantize(dtype_, rows_[output], in_features_, row.data());
  return row;
}

std::vector<float> RandomFloats(size_t n, int seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& v : values) v = normal(random);
  return values;
}

}  // namespace phalanx::kernels
