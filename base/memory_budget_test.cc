#include "base/memory_budget.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

// A machine's files, below a folder of the test.
class MemoryBudgetTest : public testing::Test {
 protected:
  MemoryBudgetTest()
      : root_(testing::TempDir() + "/memory_budget_" +
              testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::remove_all(root_);
    Write("/proc/meminfo", "MemTotal:       1000 kB\nMemFree:        10 kB\n");
  }

  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }

  const std::string root_;
};

TEST_F(MemoryBudgetTest, WithoutALimitIsTheMachines) {
  EXPECT_EQ(GetMemoryBudget(root_), 1024000);
  Write("/proc/self/cgroup", "0::/pod\n");
  Write("/sys/fs/cgroup/pod/memory.max", "max\n");
  EXPECT_EQ(GetMemoryBudget(root_), 1024000);
  EXPECT_GT(GetMemoryBudget(), 0);
}

TEST_F(MemoryBudgetTest, TheTightestLimitCounts) {
  Write("/proc/self/cgroup", "0::/pod/container\n");
  Write("/sys/fs/cgroup/pod/memory.max", "4096\n");
  Write("/sys/fs/cgroup/pod/container/memory.max", "8192\n");
  EXPECT_EQ(GetMemoryBudget(root_), 4096);
  // Limits above the machine's memory have no effect.
  Write("/sys/fs/cgroup/pod/memory.max", "9223372036854771712\n");
  Write("/sys/fs/cgroup/pod/container/memory.max", "9223372036854771712\n");
  EXPECT_EQ(GetMemoryBudget(root_), 1024000);
}

TEST_F(MemoryBudgetTest, ReadsTheFirstVersionOfCgroups) {
  Write("/proc/self/cgroup", "4:cpu,cpuacct:/pod\n3:memory:/pod\n");
  Write("/sys/fs/cgroup/memory/pod/memory.limit_in_bytes", "4096\n");
  EXPECT_EQ(GetMemoryBudget(root_), 4096);
}

TEST_F(MemoryBudgetTest, NothingKnownIsZero) {
  EXPECT_EQ(GetMemoryBudget(root_ + "/no_such_folder"), 0);
}

}  // namespace
}  // namespace phalanx
