#include "base/process_collector.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

double ValueOf(const ProcessCollector& collector, const std::string& name) {
  for (const prometheus::MetricFamily& family : collector.Collect()) {
    if (family.name == name) return family.metric[0].gauge.value;
  }
  ADD_FAILURE() << "no " << name;
  return -1;
}

TEST(ProcessCollectorTest, TellsWhatTheProcessIs) {
  const ProcessCollector collector("tester");
  EXPECT_GE(ValueOf(collector, "process_cpu_seconds_total"), 0);
  EXPECT_GT(ValueOf(collector, "process_resident_memory_bytes"), 1 << 20);
  EXPECT_GT(ValueOf(collector, "process_start_time_seconds"), 1.7e9);
  EXPECT_EQ(ValueOf(collector, "phalanx_build_info"), 1);
  EXPECT_EQ(ValueOf(collector, "phalanx_log_lines_dropped_total"), 0);
}

TEST(ProcessCollectorTest, CountsDescriptorsUntilNoneIsLeft) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit few{64, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  const ProcessCollector collector("tester");
  const double at_start = ValueOf(collector, "process_open_fds");
  std::vector<int> fds;
  for (int fd; (fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) fds.push_back(fd);
  EXPECT_EQ(ValueOf(collector, "process_open_fds"), at_start + static_cast<double>(fds.size()));
  EXPECT_EQ(ValueOf(collector, "process_open_fds"), ValueOf(collector, "process_max_fds"));
  EXPECT_GT(ValueOf(collector, "process_resident_memory_bytes"), 1 << 20);
  for (const int fd : fds) close(fd);
  EXPECT_EQ(ValueOf(collector, "process_open_fds"), at_start);
  setrlimit(RLIMIT_NOFILE, &before);
}

}  // namespace
}  // namespace phalanx
