#include "base/number_text.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

TEST(NumberTextTest, IsShortAndExact) {
  EXPECT_EQ(NumberText(0), "0");
  EXPECT_EQ(NumberText(-1.5), "-1.5");
  EXPECT_EQ(NumberText(0.1), "0.1");
  EXPECT_EQ(NumberText(0.1f), "0.1");
  EXPECT_EQ(NumberText(1e-6), "1e-06");
  EXPECT_EQ(NumberText(100), "100");
}

TEST(NumberTextTest, NeighboursOfABoundAreNotTheBound) {
  EXPECT_EQ(NumberText(std::nextafter(1.0f, 2.0f)), "1.0000001");
  EXPECT_EQ(NumberText(std::nextafter(1.0, 2.0)), "1.0000000000000002");
  EXPECT_EQ(NumberText(std::nextafter(100.0f, 200.0f)), "100.00001");
  EXPECT_EQ(NumberText(std::numeric_limits<float>::denorm_min()), "1e-45");
  EXPECT_EQ(NumberText(1234567), "1234567");
}

TEST(NumberTextTest, OnlyNumbersWithAFractionAreMadeReadable) {
  EXPECT_EQ(Readable(1.0000001f), "1.0000001");
  EXPECT_EQ(Readable(size_t{7}), 7u);
  EXPECT_STREQ(Readable("7.5"), "7.5");
}

TEST(NumberTextTest, WhatIsNoFloatIsADouble) {
  EXPECT_EQ(NumberText(1e300), "1e+300");
  EXPECT_EQ(NumberText(std::numeric_limits<double>::infinity()), "inf");
  EXPECT_EQ(NumberText(-std::numeric_limits<float>::infinity()), "-inf");
  EXPECT_EQ(NumberText(std::numeric_limits<double>::quiet_NaN()), "nan");
}

}  // namespace
}  // namespace phalanx
