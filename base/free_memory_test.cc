#include "base/free_memory.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

// A machine's files, below a folder of the test.
class FreeMemoryTest : public testing::Test {
 protected:
  FreeMemoryTest()
      : root_(testing::TempDir() + "/free_memory_" +
              testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::remove_all(root_);
    Write("/proc/meminfo",
          "MemTotal:       9000 kB\nMemFree:        10 kB\nMemAvailable:   1000 kB\n");
  }

  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }

  const std::string root_;
};

TEST_F(FreeMemoryTest, WithoutALimitIsWhatTheMachineHasAvailable) {
  EXPECT_EQ(GetFreeMemory(root_).machine, 1024000);
  EXPECT_EQ(GetFreeMemory(root_).cgroup, FreeMemory::kUnlimited);
  EXPECT_EQ(GetFreeMemory(root_).least(), 1024000);
  Write("/proc/self/cgroup", "0::/pod\n");
  Write("/sys/fs/cgroup/pod/memory.max", "max\n");
  Write("/sys/fs/cgroup/pod/memory.current", "4096\n");
  EXPECT_EQ(GetFreeMemory(root_).cgroup, FreeMemory::kUnlimited);
  EXPECT_GT(GetFreeMemory().machine, 0);
  EXPECT_LT(GetFreeMemory().machine, FreeMemory::kUnlimited);
}

TEST_F(FreeMemoryTest, PageCacheOfAGroupIsFreeAndItsOtherPagesAreNot) {
  Write("/proc/self/cgroup", "0::/pod/container\n");
  Write("/sys/fs/cgroup/pod/container/memory.max", "100000\n");
  Write("/sys/fs/cgroup/pod/container/memory.current", "70000\n");
  Write("/sys/fs/cgroup/pod/container/memory.stat",
        "anon 40000\nfile 30000\nshmem 5000\ninactive_file 20000\nactive_file 5000\n");
  EXPECT_EQ(GetFreeMemory(root_).cgroup, 55000);
  EXPECT_EQ(GetFreeMemory(root_).least(), 55000);
  // A group above it has a limit and a usage of its own.
  Write("/sys/fs/cgroup/pod/memory.max", "200000\n");
  Write("/sys/fs/cgroup/pod/memory.current", "190000\n");
  EXPECT_EQ(GetFreeMemory(root_).cgroup, 10000);
  // The limit has been lowered below the usage.
  Write("/sys/fs/cgroup/pod/memory.max", "100000\n");
  EXPECT_EQ(GetFreeMemory(root_).cgroup, -90000);
}

TEST_F(FreeMemoryTest, ReadsTheFirstVersionOfCgroups) {
  Write("/proc/self/cgroup", "4:cpu,cpuacct:/pod\n3:memory:/pod\n");
  const std::string folder = "/sys/fs/cgroup/memory/pod/";
  Write(folder + "memory.limit_in_bytes", "100000\n");
  Write(folder + "memory.usage_in_bytes", "70000\n");
  Write(folder + "memory.stat",
        "inactive_file 1\nactive_file 1\ntotal_inactive_file 20000\ntotal_active_file 5000\n");
  EXPECT_EQ(GetFreeMemory(root_).cgroup, 55000);
  // What version 1 says where version 2 says "max".
  Write(folder + "memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(GetFreeMemory(root_).cgroup, FreeMemory::kUnlimited);
}

TEST_F(FreeMemoryTest, NothingKnownIsNoLimit) {
  EXPECT_EQ(GetFreeMemory(root_ + "/no_such_folder").least(), FreeMemory::kUnlimited);
}

}  // namespace
}  // namespace phalanx
