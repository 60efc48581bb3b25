#include "kernels/dequantize.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx::kernels {
namespace {

// A block in file order: 16-bit header words, then quants.
std::vector<std::byte> Block(std::vector<uint16_t> header, const std::vector<uint8_t>& quants) {
  std::vector<std::byte> block(header.size() * 2 + quants.size());
  std::memcpy(block.data(), header.data(), header.size() * 2);
  std::transform(quants.begin(), quants.end(), block.begin() + header.size() * 2,
                 [](uint8_t q) { return std::byte{q}; });
  return block;
}

std::vector<float> Floats(DType dtype, const std::vector<std::byte>& from, int64_t elements) {
  std::vector<float> out(elements);
  Dequantize(dtype, from.data(), elements, out.data());
  return out;
}

// 16 bytes whose low nibbles are 0..15 and whose high nibbles are 15..0.
std::vector<uint8_t> Nibbles() {
  std::vector<uint8_t> quants(16);
  for (int j = 0; j < 16; ++j) quants[j] = static_cast<uint8_t>(j | (15 - j) << 4);
  return quants;
}

TEST(HalfToFloatTest, IsExactForEveryClassOfNumber) {
  EXPECT_EQ(HalfToFloat(0x3c00), 1.0f);
  EXPECT_EQ(HalfToFloat(0xc000), -2.0f);
  EXPECT_EQ(HalfToFloat(0x7bff), 65504.0f);
  EXPECT_EQ(HalfToFloat(0x0400), std::ldexp(1.0f, -14));
  EXPECT_EQ(HalfToFloat(0x0001), std::ldexp(1.0f, -24));
  EXPECT_EQ(HalfToFloat(0x83ff), -std::ldexp(1023.0f, -24));
  EXPECT_EQ(std::bit_cast<uint32_t>(HalfToFloat(0x8000)), 0x80000000u);
  EXPECT_EQ(HalfToFloat(0xfc00), -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(HalfToFloat(0x7e00)));
}

TEST(BFloat16ToFloatTest, FillsTheLowBitsWithZeros) {
  EXPECT_EQ(BFloat16ToFloat(0x3f80), 1.0f);
  EXPECT_EQ(std::bit_cast<uint32_t>(BFloat16ToFloat(0xc2f7)), 0xc2f70000u);
}

TEST(DequantizeTest, ReadsFloatsAtAnyAlignment) {
  const std::array<float, 3> values = {1.5f, -0.25f, 3e38f};
  std::vector<std::byte> bytes(1 + sizeof(values));
  std::memcpy(bytes.data() + 1, values.data(), sizeof(values));
  std::array<float, 3> out;
  Dequantize(DType::kF32, bytes.data() + 1, 3, out.data());
  EXPECT_EQ(out, values);
}

TEST(DequantizeTest, ReadsSixteenBitFloats) {
  EXPECT_EQ(Floats(DType::kF16, Block({0x3c00, 0xb800}, {}), 2), (std::vector<float>{1.0f, -0.5f}));
  EXPECT_EQ(Floats(DType::kBF16, Block({0x3f80, 0xc040}, {}), 2),
            (std::vector<float>{1.0f, -3.0f}));
}

TEST(DequantizeTest, Q4_0TakesEightOffTheNibble) {
  const std::vector<float> out = Floats(DType::kQ4_0, Block({0x3800}, Nibbles()), 32);
  for (int j = 0; j < 16; ++j) {
    EXPECT_EQ(out[j], 0.5f * static_cast<float>(j - 8));
    EXPECT_EQ(out[j + 16], 0.5f * static_cast<float>(7 - j));
  }
}

TEST(DequantizeTest, Q4_1AddsTheMinimum) {
  const std::vector<float> out = Floats(DType::kQ4_1, Block({0x3400, 0xbc00}, Nibbles()), 32);
  for (int j = 0; j < 16; ++j) {
    EXPECT_EQ(out[j], 0.25f * static_cast<float>(j) - 1.0f);
    EXPECT_EQ(out[j + 16], 0.25f * static_cast<float>(15 - j) - 1.0f);
  }
}

TEST(DequantizeTest, Q4_1RoundsTheSumOnce) {
  // d = 2^-24 and m = 1: the product is exact and is lost in the sum but for its upper half.
  const std::vector<float> out = Floats(DType::kQ4_1, Block({0x0001, 0x3c00}, Nibbles()), 32);
  for (int j = 0; j < 16; ++j) {
    EXPECT_EQ(out[j], 1.0f + std::ldexp(static_cast<float>(j), -24));
  }
}

TEST(DequantizeTest, Q8_0QuantsAreSigned) {
  std::vector<uint8_t> quants(32);
  for (int j = 0; j < 32; ++j) quants[j] = static_cast<uint8_t>(j * 8 - 128);
  const std::vector<float> out = Floats(DType::kQ8_0, Block({0x2c00}, quants), 32);
  for (int j = 0; j < 32; ++j) EXPECT_EQ(out[j], 0.0625f * static_cast<float>(j * 8 - 128));
}

TEST(DequantizeTest, ReadsBlockAfterBlock) {
  std::vector<std::byte> two = Block({0x3c00}, Nibbles());
  const std::vector<std::byte> second = Block({0x4000}, Nibbles());
  two.insert(two.end(), second.begin(), second.end());
  const std::vector<float> out = Floats(DType::kQ4_0, two, 64);
  for (int j = 0; j < 32; ++j) EXPECT_EQ(out[j + 32], 2.0f * out[j]);
}

}  // namespace
}  // namespace phalanx::kernels
