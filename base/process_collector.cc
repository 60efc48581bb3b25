#include "base/process_collector.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/log_writer.h"
#include "base/options.h"

namespace phalanx {
namespace {

using prometheus::MetricType;

prometheus::MetricFamily Single(const std::string& name, const std::string& help, MetricType type,
                                double value) {
  prometheus::ClientMetric metric;
  metric.gauge.value = value;
  metric.counter.value = value;
  return {name, help, type, {metric}};
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) { return time.tv_sec + time.tv_usec * 1e-6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double MaxFds() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<double>(limit.rlim_cur);
}

}  // namespace

ProcessCollector::ProcessCollector(const std::string& program)
    : program_(program),
      start_seconds_(absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch())),
      statm_fd_(open("/proc/self/statm", O_RDONLY | O_CLOEXEC)),
      fd_folder_(opendir("/proc/self/fd")) {}

ProcessCollector::~ProcessCollector() {
  if (statm_fd_ >= 0) close(statm_fd_);
  MutexLock lock(&mutex_);
  if (fd_folder_ != nullptr) closedir(static_cast<DIR*>(fd_folder_));
}

double ProcessCollector::OpenFds() const {
  MutexLock lock(&mutex_);
  auto* const folder = static_cast<DIR*>(fd_folder_);
  if (folder == nullptr) return -1;
  rewinddir(folder);
  int count = 0;
  // No other thread reads the folder, since the lock is held.
  // NOLINTNEXTLINE(concurrency-mt-unsafe)
  while (const dirent* const entry = readdir(folder)) count += entry->d_name[0] != '.';
  return count;
}

double ProcessCollector::ResidentBytes() const {
  char text[128] = {};
  long total_pages = 0;
  long resident_pages = 0;
  if (pread(statm_fd_, text, sizeof(text) - 1, 0) < 0) return 0;
  if (std::sscanf(text, "%ld %ld", &total_pages, &resident_pages) != 2) return 0;
  return static_cast<double>(resident_pages) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

std::vector<prometheus::MetricFamily> ProcessCollector::Collect() const {
  prometheus::MetricFamily build =
      Single("phalanx_build_info", "Version of the program, as 1.", MetricType::Gauge, 1);
  build.metric[0].label = {{"version", VersionString()}, {"program", program_}};
  return {std::move(build),
          Single("phalanx_log_lines_dropped_total",
                 "Lines of the log that standard error did not take, or not fast enough.",
                 MetricType::Counter, static_cast<double>(LogLinesDropped())),
          Single("process_cpu_seconds_total", "User and system CPU time.", MetricType::Counter,
                 CpuSeconds()),
          Single("process_resident_memory_bytes", "Resident memory.", MetricType::Gauge,
                 ResidentBytes()),
          Single("process_open_fds", "Open file descriptors.", MetricType::Gauge, OpenFds()),
          Single("process_max_fds", "Most file descriptors allowed.", MetricType::Gauge, MaxFds()),
          Single("process_start_time_seconds", "Start of the process, Unix time.",
                 MetricType::Gauge, start_seconds_)};
}

}  // namespace phalanx
