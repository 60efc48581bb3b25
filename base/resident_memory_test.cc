#include "base/resident_memory.h"

#include <vector>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

TEST(ResidentMemoryTest, GrowsWithWhatIsWritten) {
  constexpr int64_t kBytes = 64 << 20;
  const int64_t before = ResidentMemoryBytes();
  EXPECT_GT(before, 0);
  const std::vector<char> written(kBytes, 1);
  EXPECT_GE(ResidentMemoryBytes(), before + kBytes * 9 / 10) << written.back();
}

}  // namespace
}  // namespace phalanx
