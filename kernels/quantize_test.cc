#include "kernels/quantize.h"

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/dequantize.h"

namespace phalanx::kernels {
namespace {

TEST(FloatToHalfTest, EveryHalfComesBackAndWhatLiesBetweenGoesToTheNearest) {
  for (uint32_t half = 0; half < 0x7c00; ++half) {
    const float value = HalfToFloat(static_cast<uint16_t>(half));
    ASSERT_EQ(FloatToHalf(value), half);
    ASSERT_EQ(FloatToHalf(-value), half | 0x8000);
    // The middle between two goes to the even one, what is a bit off it to the nearer one.
    const float next = half + 1 == 0x7c00 ? 65536.0f : HalfToFloat(static_cast<uint16_t>(half + 1));
    const float middle = value + (next - value) / 2;
    ASSERT_EQ(FloatToHalf(middle), half % 2 == 0 ? half : half + 1);
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, 0.0f)), half);
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, 1e6f)), half + 1);
  }
  EXPECT_EQ(FloatToHalf(1e30f), 0x7c00);
  EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(NAN))));
}

class QuantizeRowTest : public testing::TestWithParam<DType> {
 protected:
  std::vector<float> ThereAndBack(const std::vector<float>& row) const {
    std::vector<std::byte> blocks(RowBytes(GetParam(), static_cast<int64_t>(row.size())));
    QuantizeRow(GetParam(), row, blocks.data());
    std::vector<float> back(row.size());
    Dequantize(GetParam(), blocks.data(), static_cast<int64_t>(row.size()), back.data());
    return back;
  }
};

INSTANTIATE_TEST_SUITE_P(Types, QuantizeRowTest, testing::Values(DType::kQ8_0, DType::kQ4_0),
                         [](const auto& info) { return DTypeName(info.param); });

TEST_P(QuantizeRowTest, AnElementIsOffByHalfALevelAtMost) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> row(320);
  for (float& value : row) value = normal(random);
  const std::vector<float> back = ThereAndBack(row);
  for (size_t block = 0; block < row.size(); block += 32) {
    float largest = 0;
    for (size_t i = block; i < block + 32; ++i) largest = std::max(largest, std::abs(row[i]));
    const float level = GetParam() == DType::kQ8_0 ? largest / 127 : largest / 8;
    for (size_t i = block; i < block + 32; ++i) {
      // kQ4_0 has a level less on the one side: what is there may be off by a whole one.
      const float bound = GetParam() == DType::kQ8_0 ? 0.5f : 1.0f;
      ASSERT_LE(std::abs(back[i] - row[i]), level * (bound + 0.05f)) << i;
      if (std::abs(row[i]) == largest) {
        ASSERT_NEAR(back[i], row[i], largest * 0.001f);
      }
    }
  }
}

TEST_P(QuantizeRowTest, ZerosStayZerosAndWholeLevelsAreExact) {
  EXPECT_EQ(ThereAndBack(std::vector<float>(32)), std::vector<float>(32));
  std::vector<float> row(32);
  // -8 to 7, in both types a multiple of the scale if the largest is of that size.
  for (int i = 0; i < 32; ++i) row[i] = static_cast<float>(i % 16 - 8);
  if (GetParam() == DType::kQ8_0) row[0] = -127;
  EXPECT_EQ(ThereAndBack(row), row);
}

TEST_P(QuantizeRowTest, ANumberThatIsNoneShows) {
  std::vector<float> row(64, 1.0f);
  row[40] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> back = ThereAndBack(row);
  EXPECT_NEAR(back[0], 1.0f, 0.001f);
  EXPECT_TRUE(std::isnan(back[40]));
}

}  // namespace
}  // namespace phalanx::kernels
