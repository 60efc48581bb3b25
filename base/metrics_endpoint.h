// The /metrics page of a process.
#ifndef PHALANX_BASE_METRICS_ENDPOINT_H_
#define PHALANX_BASE_METRICS_ENDPOINT_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/host_port.h"
#include "base/mutex.h"
#include "base/process_collector.h"
#include "prometheus/collectable.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"

struct MHD_Daemon;

namespace phalanx {

// Upper bounds in seconds for latencies of requests: 1 ms to 10 min.
prometheus::Histogram::BucketBoundaries RequestLatencyBuckets();

// Upper bounds in seconds for what happens within a step: 1 us to 10 s.
prometheus::Histogram::BucketBoundaries StepLatencyBuckets();

// Serves the metrics of one registry over HTTP at /metrics, together with the process's own
// (ProcessCollector). One thread waits for all connections at once, so that a connection on which
// nothing is sent or read holds up nobody; it is closed after a while. Thread-safe. The page is
// gone when the object is destroyed.
class MetricsEndpoint {
 public:
  // Port 0 takes a free one. `program` is for build_info. `registry` is where the program makes its
  // metric families. UNAVAILABLE, naming address and reason, if it cannot listen there.
  static absl::StatusOr<std::unique_ptr<MetricsEndpoint>> Create(
      const HostPort& address, const std::string& program,
      std::shared_ptr<prometheus::Registry> registry);
  MetricsEndpoint(const MetricsEndpoint&) = delete;
  MetricsEndpoint& operator=(const MetricsEndpoint&) = delete;
  ~MetricsEndpoint();

  // The port that is listened on.
  int port() const { return port_; }

  // Puts what `collectable` collects on the page too, from now on. It is asked by the page's
  // thread, each time that somebody asks for the page, so that it should answer soon.
  void Add(std::shared_ptr<const prometheus::Collectable> collectable);

  // What the page says now, in Prometheus's text format.
  std::string Page() const;

 private:
  MetricsEndpoint(int port, const std::string& program,
                  std::shared_ptr<prometheus::Registry> registry);

  const int port_;
  const std::shared_ptr<prometheus::Registry> registry_;
  const ProcessCollector process_;
  mutable Mutex mutex_;
  std::vector<std::shared_ptr<const prometheus::Collectable>> added_ GUARDED_BY(mutex_);
  MHD_Daemon* daemon_ = nullptr;
};

}  // namespace phalanx

#endif  // PHALANX_BASE_METRICS_ENDPOINT_H_
