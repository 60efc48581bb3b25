#include "base/cpu_budget.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

// A machine's files, below a folder of the test.
class CpuBudgetTest : public testing::Test {
 protected:
  CpuBudgetTest()
      : root_(testing::TempDir() + "/cpu_budget_" +
              testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::remove_all(root_);
  }

  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }

  int Cpus() { return GetCpuBudget(root_).cpus; }

  const std::string root_;
  // What this machine really allows, which quotas can only lower.
  const int affinity_ = GetCpuBudget(testing::TempDir() + "/no_such_folder").cpus;
};

TEST_F(CpuBudgetTest, WithoutQuotaIsTheAffinityMask) {
  Write("/proc/self/cgroup", "0::/\n");
  Write("/sys/fs/cgroup/cpu.max", "max 100000\n");
  EXPECT_EQ(Cpus(), affinity_);
  EXPECT_NE(GetCpuBudget(root_).reason.find("quota none"), std::string::npos);
}

TEST_F(CpuBudgetTest, AQuotaIsRoundedDownButNeverToNone) {
  Write("/proc/self/cgroup", "0::/pod\n");
  Write("/sys/fs/cgroup/pod/cpu.max", "199000 100000\n");
  EXPECT_EQ(Cpus(), 1);
  Write("/sys/fs/cgroup/pod/cpu.max", "10000 100000\n");
  EXPECT_EQ(Cpus(), 1);
  EXPECT_NE(GetCpuBudget(root_).reason.find("quota 0.1"), std::string::npos);
}

TEST_F(CpuBudgetTest, TheTightestFolderOfThePathCounts) {
  Write("/proc/self/cgroup", "0::/a/b\n");
  Write("/sys/fs/cgroup/a/cpu.max", "100000 100000\n");
  Write("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(Cpus(), 1);
}

TEST_F(CpuBudgetTest, ReadsTheFirstVersionOfCgroups) {
  Write("/proc/self/cgroup", "4:cpu,cpuacct:/pod\n3:memory:/pod\n");
  Write("/sys/fs/cgroup/cpu/pod/cpu.cfs_quota_us", "100000\n");
  Write("/sys/fs/cgroup/cpu/pod/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(Cpus(), 1);
  Write("/sys/fs/cgroup/cpu/pod/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(Cpus(), affinity_);
}

TEST_F(CpuBudgetTest, NonsenseIsNoQuota) {
  Write("/proc/self/cgroup", "0::/\nrubbish\n");
  Write("/sys/fs/cgroup/cpu.max", "many few\n");
  EXPECT_EQ(Cpus(), affinity_);
}

}  // namespace
}  // namespace phalanx
