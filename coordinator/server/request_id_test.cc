#include "coordinator/server/request_id.h"

#include <cctype>
#include <cstdint>
#include <string>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

// Each bit stays as it is in all of 100 draws once in 2^99.
constexpr int kDraws = 100;

TEST(RequestIdTest, EveryRandomBitIsRandom) {
  uint64_t ones = 0, zeros = 0;
  for (int i = 0; i < kDraws; ++i) {
    const uint64_t bits = RandomBits64();
    ones |= bits;
    zeros |= ~bits;
  }
  EXPECT_EQ(ones, ~uint64_t{0});
  EXPECT_EQ(zeros, ~uint64_t{0});
}

TEST(RequestIdTest, Is32HexadecimalDigitsOfWhichEachVaries) {
  const std::string first = MakeRequestId();
  std::string varies(32, '-');
  for (int i = 0; i < kDraws; ++i) {
    const std::string id = MakeRequestId();
    ASSERT_EQ(id.size(), 32u);
    for (size_t k = 0; k < id.size(); ++k) {
      EXPECT_TRUE(std::isxdigit(static_cast<unsigned char>(id[k]))) << id;
      if (id[k] != first[k]) varies[k] = 'x';
    }
  }
  EXPECT_EQ(varies, std::string(32, 'x'));
}

}  // namespace
}  // namespace phalanx
