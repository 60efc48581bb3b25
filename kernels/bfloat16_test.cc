#include "kernels/bfloat16.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"
#include "kernels/dequantize.h"

namespace phalanx::kernels {
namespace {

TEST(BFloat16Test, KeepsEveryBFloat16) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const float value = BFloat16ToFloat(static_cast<uint16_t>(bits));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(BFloat16ToFloat(FloatToBFloat16(value)))) << bits;
    } else {
      EXPECT_EQ(FloatToBFloat16(value), bits);
    }
  }
}

TEST(BFloat16Test, RoundsToTheNearestAndToEvenInTheMiddle) {
  // Neighbours of 1 are 2^-7 apart.
  EXPECT_EQ(BFloat16ToFloat(FloatToBFloat16(1 + 0x1p-8f)), 1.0f);
  EXPECT_EQ(BFloat16ToFloat(FloatToBFloat16(1 + 0x1p-8f + 0x1p-23f)), 1 + 0x1p-7f);
  EXPECT_EQ(BFloat16ToFloat(FloatToBFloat16(1 + 3 * 0x1p-8f)), 1 + 0x1p-6f);
  EXPECT_EQ(BFloat16ToFloat(FloatToBFloat16(-1 - 0x1p-8f)), -1.0f);
  EXPECT_EQ(BFloat16ToFloat(FloatToBFloat16(std::numeric_limits<float>::max())),
            std::numeric_limits<float>::infinity());
  // A NaN whose payload is in its lower half.
  EXPECT_TRUE(std::isnan(BFloat16ToFloat(FloatToBFloat16(std::bit_cast<float>(0x7f800001u)))));
}

}  // namespace
}  // namespace phalanx::kernels
