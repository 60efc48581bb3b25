// The /metrics page of a process.
#ifndef PHALANX_BASE_METRICS_ENDPOINT_H_
#define PHALANX_BASE_METRICS_ENDPOINT_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"

namespace prometheus {
class Exposer;
}

namespace phalanx {

// Upper bounds in seconds for latencies of requests: 1 ms to 10 min.
prometheus::Histogram::BucketBoundaries RequestLatencyBuckets();

// Upper bounds in seconds for what happens within a step: 1 us to 10 s.
prometheus::Histogram::BucketBoundaries StepLatencyBuckets();

// Serves the metrics of one registry over HTTP, together with the process's own:
// phalanx_build_info{version,program}, phalanx_log_lines_dropped_total, process_cpu_seconds_total,
// process_resident_memory_bytes, process_open_fds, process_max_fds, process_start_time_seconds
// (names as in the Prometheus client guidelines). Thread-safe. The page is gone when the object
// dies.
class MetricsEndpoint {
 public:
  // `address` is HOST:PORT; port 0 takes a free one. `program` is for build_info. `registry` is
  // where the program makes its metric families. Fails with UNAVAILABLE, naming the address, if
  // the port is in use, INVALID_ARGUMENT if the address is malformed.
  static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Create(
      const std::string& address, const std::string& program,
      std::shared_ptr<prometheus::Registry> registry);
  MetricsEndpoint(const MetricsEndpoint&) = delete;
  MetricsEndpoint& operator=(const MetricsEndpoint&) = delete;
  ~MetricsEndpoint();

  // The port that is listened on.
  int port() const { return port_; }

 private:
  MetricsEndpoint(std::unique_ptr<prometheus::Exposer> exposer,
                  std::shared_ptr<prometheus::Registry> registry,
                  std::shared_ptr<prometheus::Collectable> process, int port);

  std::unique_ptr<prometheus::Exposer> exposer_;
  // The exposer holds these weakly.
  std::shared_ptr<prometheus::Registry> registry_;
  std::shared_ptr<prometheus::Collectable> process_;
  const int port_;
};

}  // namespace phalanx

#endif  // PHALANX_BASE_METRICS_ENDPOINT_H_
