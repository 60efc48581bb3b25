#include "kernels/kv_quantize.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kSubnormal = 0x1p-149f;

// The value of each code by the definition of the format.
float ValueOf(int code) {
  const int exponent = code >> 3 & 15;
  const int fraction = code & 7;
  const float sign = code & 0x80 ? -1.0f : 1.0f;
  if (exponent == 15 && fraction == 7) return NAN;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), -9);
  return sign * std::ldexp(1.0f + static_cast<float>(fraction) / 8, exponent - 7);
}

TEST(E4m3Test, EveryCodeDecodesByItsDefinition) {
  for (int code = 0; code < 256; ++code) {
    const float value = DecodeE4m3(static_cast<uint8_t>(code));
    if (std::isnan(ValueOf(code))) {
      EXPECT_TRUE(std::isnan(value)) << code;
    } else {
      EXPECT_EQ(std::bit_cast<uint32_t>(value), std::bit_cast<uint32_t>(ValueOf(code))) << code;
      EXPECT_EQ(EncodeE4m3(value), code);
    }
  }
  EXPECT_EQ(DecodeE4m3(0x7e), 448.0f);
}

// Between two neighbours, the middle itself goes to the even code and all else to the nearer one.
TEST(E4m3Test, RoundsToTheNearestAndToEven) {
  for (int code = 0; code < 0x7e; ++code) {
    const float low = ValueOf(code);
    const float high = ValueOf(code + 1);
    const float middle = (low + high) / 2;
    for (const int sign : {0, 0x80}) {
      const float factor = sign == 0 ? 1.0f : -1.0f;
      EXPECT_EQ(EncodeE4m3(factor * middle), sign | (code + code % 2)) << code;
      EXPECT_EQ(EncodeE4m3(factor * std::nextafter(middle, 0.0f)), sign | code) << code;
      EXPECT_EQ(EncodeE4m3(factor * std::nextafter(middle, kInfinity)), sign | (code + 1)) << code;
    }
  }
  EXPECT_EQ(EncodeE4m3(kSubnormal), 0);
}

TEST(E4m3Test, SaturatesAtTheLargest) {
  for (const float x : {448.0f, 449.0f, 464.0f, 1e30f, kInfinity}) {
    EXPECT_EQ(EncodeE4m3(x), 0x7e) << x;
    EXPECT_EQ(EncodeE4m3(-x), 0xfe) << x;
  }
}

struct Row {
  KvScale scale;
  std::vector<float> read;
};

Row Quantize(KvDType dtype, const std::vector<float>& row) {
  uint32_t amax = 0;
  for (const float x : row) amax = std::max(amax, KvMagnitude(x));
  Row result = {KvScaleOf(dtype, amax), {}};
  for (const float x : row) {
    const float level = dtype == KvDType::kInt8 ? static_cast<float>(Int8Level(x, result.scale))
                                                : DecodeE4m3(Fp8Level(x, result.scale));
    result.read.push_back(level * result.scale.scale);
  }
  return result;
}

class KvQuantizeTest : public testing::TestWithParam<KvDType> {
 protected:
  const float most_ = GetParam() == KvDType::kInt8 ? 127.0f : 448.0f;
};

INSTANTIATE_TEST_SUITE_P(Types, KvQuantizeTest, testing::Values(KvDType::kInt8, KvDType::kFp8),
                         [](const auto& info) { return std::string(KvDTypeName(info.param)); });

// int8: half a level of amax / 127. fp8: half of the distance of two numbers, which is at most
// 2^-4 of them, and half of 2^-9 of a level for the smallest. Both with a few roundings on top.
TEST_P(KvQuantizeTest, ReadsWithinHalfALevel) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (const float size : {1.0f, 1e-30f, 1e36f}) {
    std::vector<float> row(64);
    for (float& x : row) x = normal(random) * size;
    const Row quantized = Quantize(GetParam(), row);
    for (size_t i = 0; i < row.size(); ++i) {
      const double level = quantized.scale.scale;
      const double step =
          GetParam() == KvDType::kInt8
              ? level
              : std::max(level * 0x1p-9, std::abs(static_cast<double>(row[i])) * 0x1p-3);
      EXPECT_NEAR(quantized.read[i], row[i],
                  0.5 * step * (1 + 0x1p-20) + std::abs(row[i]) * 0x1p-22);
    }
  }
}

TEST_P(KvQuantizeTest, TheLargestNumberHasTheLargestLevel) {
  const Row row = Quantize(GetParam(), {0.5f * most_, -most_, 1.0f, 0.0f});
  EXPECT_EQ(row.scale.scale, 1.0f);
  EXPECT_EQ(row.read[1], -most_);
  EXPECT_EQ(row.read[2], 1.0f);
  EXPECT_EQ(row.read[3], 0.0f);
  // The largest float itself may read as infinity, by the rounding of its scale.
  const float largest = 0x1p127f;
  const Row huge = Quantize(GetParam(), {largest, -largest, 1.0f});
  EXPECT_NEAR(huge.read[0] / largest, 1.0f, 0x1p-22);
  EXPECT_EQ(huge.read[1], -huge.read[0]);
  EXPECT_EQ(huge.read[2], 0.0f);
}

TEST_P(KvQuantizeTest, RowsWithoutANormalScaleAreZeros) {
  const float least = 0x1p-126f * most_;
  EXPECT_EQ(Quantize(GetParam(), {least, 0.0f}).scale.scale, 0x1p-126f);
  for (const float x : {0.0f, -0.0f, kSubnormal, 0x1p-126f, std::nextafter(least, 0.0f)}) {
    const Row row = Quantize(GetParam(), {x, -x});
    EXPECT_EQ(row.scale.scale, 0.0f) << x;
    EXPECT_EQ(row.scale.inverse, 0.0f) << x;
    EXPECT_EQ(row.read, (std::vector<float>{0.0f, 0.0f})) << x;
  }
}

TEST_P(KvQuantizeTest, ARowWithNoNumberReadsAsNoNumbers) {
  for (const float bad : {NAN, -NAN, kInfinity, -kInfinity}) {
    for (const float x : Quantize(GetParam(), {1.0f, bad, 0.0f}).read) EXPECT_TRUE(std::isnan(x));
  }
}

TEST(Int8LevelTest, RoundsToEvenBetweenTwoLevels) {
  const KvScale scale = KvScaleOf(KvDType::kInt8, KvMagnitude(127.0f));
  EXPECT_EQ(Int8Level(2.5f, scale), 2);
  EXPECT_EQ(Int8Level(3.5f, scale), 4);
  EXPECT_EQ(Int8Level(-2.5f, scale), -2);
  EXPECT_EQ(Int8Level(std::nextafter(2.5f, 3.0f), scale), 3);
  EXPECT_EQ(Int8Level(500.0f, scale), 127);
  EXPECT_EQ(Int8Level(-500.0f, scale), -127);
}

}  // namespace
}  // namespace phalanx::kernels
