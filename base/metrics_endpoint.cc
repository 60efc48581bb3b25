#include "base/metrics_endpoint.h"

#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/log_writer.h"
#include "base/options.h"
#include "base/status.h"
#include "prometheus/collectable.h"
#include "prometheus/exposer.h"
#include "prometheus/metric_family.h"

namespace phalanx {
namespace {

prometheus::MetricFamily Single(const std::string& name, const std::string& help,
                                prometheus::MetricType type, double value) {
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

double ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  double total_pages = 0;
  double resident_pages = 0;
  statm >> total_pages >> resident_pages;
  return resident_pages * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double OpenFds() {
  std::error_code error;
  std::filesystem::directory_iterator folder("/proc/self/fd", error);
  const auto entries = std::distance(begin(folder), end(folder));
  return static_cast<double>(entries - 1);  // Without the folder's own.
}

double MaxFds() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<double>(limit.rlim_cur);
}

// Connects to a local port and closes again.
void Knock(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  (void)connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  close(fd);
}

// The names are those of the Prometheus guidelines for client libraries.
class ProcessCollector final : public prometheus::Collectable {
 public:
  explicit ProcessCollector(const std::string& program)
      : program_(program), start_seconds_(absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch())) {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    using prometheus::MetricType;
    prometheus::MetricFamily build =
        Single("phalanx_build_info", "Version of the program, as 1.", MetricType::Gauge, 1);
    build.metric[0].label = {{"version", VersionString()}, {"program", program_}};
    return {
        std::move(build),
        Single("phalanx_log_lines_dropped_total",
               "Lines of the log that came faster than standard error took them.",
               MetricType::Counter, static_cast<double>(LogLinesDropped())),
        Single("process_cpu_seconds_total", "User and system CPU time.", MetricType::Counter,
               CpuSeconds()),
        Single("process_resident_memory_bytes", "Resident memory.", MetricType::Gauge,
               ResidentBytes()),
        Single("process_open_fds", "Open file descriptors.", MetricType::Gauge, OpenFds()),
        Single("process_max_fds", "Most file descriptors allowed.", MetricType::Gauge, MaxFds()),
        Single("process_start_time_seconds", "Start of the process, Unix time.", MetricType::Gauge,
               start_seconds_)};
  }

 private:
  const std::string program_;
  const double start_seconds_;
};

}  // namespace

prometheus::Histogram::BucketBoundaries RequestLatencyBuckets() {
  return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
          1,     2.5,    5,     10,   25,    60,   120, 300,  600};
}

prometheus::Histogram::BucketBoundaries StepLatencyBuckets() {
  return {1e-6, 2.5e-6, 5e-6,   1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3,
          5e-3, 1e-2,   2.5e-2, 5e-2, 0.1,    0.25, 0.5,  1,      2.5,  5,    10};
}

absl::StatusOr<std::unique_ptr<MetricsEndpoint>> MetricsEndpoint::Create(
    const std::string& address, const std::string& program,
    std::shared_ptr<prometheus::Registry> registry) {
  const size_t colon = address.rfind(':');
  uint32_t port = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(address.substr(colon + 1), &port) ||
      port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("metrics address \"", address, "\" is not HOST:PORT"));
  }
  std::unique_ptr<prometheus::Exposer> exposer;
  try {
    exposer = std::make_unique<prometheus::Exposer>(address, /*num_threads=*/1);
  } catch (const std::exception& error) {
    return absl::UnavailableError(
        absl::StrCat("cannot serve metrics on ", address, ": ", error.what()));
  }
  auto process = std::make_shared<ProcessCollector>(program);
  exposer->RegisterCollectable(registry);
  exposer->RegisterCollectable(process);
  const int bound_port = exposer->GetListeningPorts().front();
  return std::unique_ptr<MetricsEndpoint>(
      new MetricsEndpoint(std::move(exposer), std::move(registry), std::move(process), bound_port));
}

MetricsEndpoint::MetricsEndpoint(std::unique_ptr<prometheus::Exposer> exposer,
                                 std::shared_ptr<prometheus::Registry> registry,
                                 std::shared_ptr<prometheus::Collectable> process, int port)
    : exposer_(std::move(exposer)),
      registry_(std::move(registry)),
      process_(std::move(process)),
      port_(port) {}

// The HTTP server's listening thread looks only every two seconds whether it is to stop, unless a
// connection wakes it.
MetricsEndpoint::~MetricsEndpoint() {
  std::atomic<bool> stopped = false;
  std::thread waker([&] {
    while (!stopped) {
      Knock(port_);
      absl::SleepFor(absl::Milliseconds(5));
    }
  });
  exposer_.reset();
  stopped = true;
  waker.join();
}

}  // namespace phalanx
