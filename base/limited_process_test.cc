#include "base/limited_process.h"

#include <cstddef>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

// How the program is started is tested by those who start it: the renderer of templates and the
// check of constraints.
TEST(LimitedProcessTest, ASoftLimitIsSetAsFarAsTheHardOneAllows) {
  SetSoftLimit(RLIMIT_CORE, 0);
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_CORE, &limit), 0);
  EXPECT_EQ(limit.rlim_cur, 0u);
  SetSoftLimit(RLIMIT_CORE, RLIM_INFINITY);
  ASSERT_EQ(getrlimit(RLIMIT_CORE, &limit), 0);
  EXPECT_EQ(limit.rlim_cur, limit.rlim_max);
}

TEST(LimitedProcessTest, DataGrowsWithWhatIsAllocated) {
  const uint64_t before = DataBytes();
  EXPECT_GT(before, 0u);
  constexpr size_t kBytes = size_t{64} << 20;
  const std::vector<char> memory(kBytes, 1);
  EXPECT_GE(DataBytes(), before + kBytes * memory.front());
}

}  // namespace
}  // namespace phalanx
