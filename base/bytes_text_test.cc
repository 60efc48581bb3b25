#include "base/bytes_text.h"

#include "gtest/gtest.h"

namespace phalanx {
namespace {

TEST(BytesTextTest, HasTheDigitsThatCount) {
  EXPECT_EQ(BytesText(0), "0 bytes");
  EXPECT_EQ(BytesText(1023), "1023 bytes");
  EXPECT_EQ(BytesText(1536), "1.50 KiB");
  EXPECT_EQ(BytesText(int64_t{98} << 20), "98.0 MiB");
  EXPECT_EQ(BytesText(int64_t{250} << 30), "250 GiB");
  EXPECT_EQ(BytesText(-(int64_t{3} << 20)), "-3.00 MiB");
}

}  // namespace
}  // namespace phalanx
