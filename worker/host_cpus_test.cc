#include "worker/host_cpus.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// A machine's files, below a folder of the test.
class HostCpusTest : public testing::Test {
 protected:
  HostCpusTest()
      : root_(testing::TempDir() + "/host_cpus_" +
              testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::remove_all(root_);
  }

  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ + "/sys/devices/system/" + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }

  const std::string root_;
};

TEST_F(HostCpusTest, ReadsTwoSocketsWithSmt) {
  Write("cpu/online", "0-7");
  for (int cpu = 0; cpu < 8; ++cpu) {
    Write(absl::StrCat("cpu/cpu", cpu, "/topology/core_cpus_list"),
          absl::StrCat(cpu % 4, ",", cpu % 4 + 4));
  }
  Write("node/online", "0-1");
  Write("node/node0/cpulist", "0-1,4-5");
  Write("node/node1/cpulist", "2-3,6-7");
  EXPECT_THAT(ReadHostCpus({0, 3, 4, 7}, root_),
              ElementsAre(HostCpu{0, 0, 0}, HostCpu{3, 3, 1}, HostCpu{4, 0, 0}, HostCpu{7, 3, 1}));
}

TEST_F(HostCpusTest, NodesMayHaveGapsAndNoCpus) {
  Write("node/online", "0,2-3");
  Write("node/node0/cpulist", "0");
  Write("node/node2/cpulist", "");
  Write("node/node3/cpulist", "1");
  EXPECT_THAT(ReadHostCpus({0, 1}, root_), ElementsAre(HostCpu{0, 0, 0}, HostCpu{1, 1, 3}));
}

TEST_F(HostCpusTest, ReadsTheOldNameOfTheSiblings) {
  Write("cpu/cpu2/topology/thread_siblings_list", "0,2");
  EXPECT_THAT(ReadHostCpus({2}, root_), ElementsAre(HostCpu{2, 0, 0}));
}

TEST_F(HostCpusTest, LeavesOutWhatIsOffline) {
  Write("cpu/online", "0,2");
  EXPECT_THAT(ReadHostCpus({0, 1, 2}, root_), ElementsAre(HostCpu{0, 0, 0}, HostCpu{2, 2, 0}));
  EXPECT_THAT(ReadHostCpus({1}, root_), IsEmpty());
}

TEST_F(HostCpusTest, WhatIsNotToldIsACoreOfItsOwn) {
  EXPECT_THAT(ReadHostCpus({0, 5}, root_), ElementsAre(HostCpu{0, 0, 0}, HostCpu{5, 5, 0}));
  Write("cpu/online", "garbage");
  Write("node/online", "garbage");
  // A list without the CPU itself cannot be right.
  Write("cpu/cpu5/topology/core_cpus_list", "0-1");
  EXPECT_THAT(ReadHostCpus({0, 5}, root_), ElementsAre(HostCpu{0, 0, 0}, HostCpu{5, 5, 0}));
}

TEST(ThisHostTest, IsRead) { EXPECT_THAT(ReadHostCpus({0}), testing::SizeIs(1)); }

}  // namespace
}  // namespace phalanx
