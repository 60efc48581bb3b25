#include "kernels/quant_block.h"

#include <algorithm>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx::kernels {
namespace {

std::vector<std::byte> Zeros(DType dtype) { return std::vector<std::byte>(BlockBytes(dtype)); }

TEST(QuantBlockTest, TypesWithoutSubBlocksHaveScaleOne) {
  const QuantBlock block = ReadQuantBlock(DType::kQ5_0, Zeros(DType::kQ5_0).data());
  EXPECT_EQ(block.scales[0], 1);
  EXPECT_EQ(block.minimums[0], 1);
  EXPECT_EQ(block.m, 0x8000);
  EXPECT_EQ(QuantLevel(DType::kQ5_0, block.codes[31]), -16);
}

TEST(QuantBlockTest, FifthBitsOfABlockOf32AreInOrder) {
  auto bytes = Zeros(DType::kQ5_1);
  bytes[4 + 1] = std::byte{0x10};       // qh: bit 12.
  bytes[4 + 4 + 12] = std::byte{0x73};  // qs: elements 12 and 28.
  bytes[2] = std::byte{0xff};
  const QuantBlock block = ReadQuantBlock(DType::kQ5_1, bytes.data());
  EXPECT_EQ(block.codes[12], 16 + 3);
  EXPECT_EQ(block.codes[28], 7);
  EXPECT_EQ(block.m, 0x00ff);
}

TEST(QuantBlockTest, LaterScalesOfQ4KArePutTogetherFromTwoPlaces) {
  auto bytes = Zeros(DType::kQ4_K);
  bytes[4 + 1] = std::byte{0b10'000011};  // Scale 1, top of scale 5.
  bytes[4 + 5] = std::byte{0b01'000101};  // Minimum 1, top of minimum 5.
  bytes[4 + 9] = std::byte{0b0110'1001};  // Low nibbles of minimum 5 and scale 5.
  bytes[2] = std::byte{0x01};
  const QuantBlock block = ReadQuantBlock(DType::kQ4_K, bytes.data());
  EXPECT_EQ(block.scales[1], 3);
  EXPECT_EQ(block.minimums[1], 5);
  EXPECT_EQ(block.scales[5], 0b10'1001);
  EXPECT_EQ(block.minimums[5], 0b01'0110);
  EXPECT_EQ(block.m, 0x8001) << "to be added, not subtracted";
}

TEST(QuantBlockTest, ScalesOfQ3KAreSigned) {
  auto bytes = Zeros(DType::kQ3_K);
  bytes[96 + 2] = std::byte{0xa7};   // Low nibbles of scales 2 and 10.
  bytes[96 + 10] = std::byte{0x23};  // Top of scales 2 (3), 6 (0), 10 (2), 14 (0).
  const QuantBlock block = ReadQuantBlock(DType::kQ3_K, bytes.data());
  EXPECT_EQ(block.scales[2], 7 + 48 - 32);
  EXPECT_EQ(block.scales[10], 10 + 32 - 32);
  EXPECT_EQ(block.scales[6], -32);
  EXPECT_EQ(QuantLevel(DType::kQ3_K, block.codes[0]), -4);
}

TEST(QuantBlockTest, CodesFillTheirBits) {
  for (DType dtype : kAllDTypes) {
    if (!IsQuantized(dtype)) continue;
    std::vector<std::byte> bytes(BlockBytes(dtype), std::byte{0xff});
    const QuantBlock block = ReadQuantBlock(dtype, bytes.data());
    const int top = dtype == DType::kQ8_0 ? 0x7f : (1 << CodeBits(dtype)) - 1;
    EXPECT_EQ(std::count(block.codes.begin(), block.codes.begin() + BlockElements(dtype), top),
              BlockElements(dtype))
        << DTypeName(dtype);
  }
}

}  // namespace
}  // namespace phalanx::kernels
