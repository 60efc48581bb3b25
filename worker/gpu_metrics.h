// The metrics of the GPU that a rank computes on. Every rank has those of its own GPU on its own
// page.
#ifndef PHALANX_WORKER_GPU_METRICS_H_
#define PHALANX_WORKER_GPU_METRICS_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/metrics_endpoint.h"
#include "base/mutex.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "worker/gpu_status.h"

namespace phalanx {

// phalanx_gpu_info{gpu,name,driver}, phalanx_gpu_lost, phalanx_gpu_memory_used_bytes,
// phalanx_gpu_memory_total_bytes, phalanx_gpu_utilization_ratio, phalanx_gpu_power_watts,
// phalanx_gpu_temperature_celsius, phalanx_gpu_clock_hertz{clock},
// phalanx_gpu_ecc_errors_total{kind}, phalanx_gpu_read_errors_total. What the GPU does not tell is
// not on the page. Read when the page is asked for, but not more often than kReadInterval.
// Thread-safe.
class GpuMetrics final : public prometheus::Collectable {
 public:
  static constexpr absl::Duration kReadInterval = absl::Seconds(1);

  // `read` is called by one thread at a time. `clock` is lent.
  GpuMetrics(GpuIdentity identity, std::function<GpuStatus()> read, const Clock* clock);
  GpuMetrics(const GpuMetrics&) = delete;
  GpuMetrics& operator=(const GpuMetrics&) = delete;

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  // Reads anew if it is time to.
  void Refresh() const EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const GpuIdentity identity_;
  const std::function<GpuStatus()> read_;
  const Clock* const clock_;
  mutable Mutex mutex_;
  mutable absl::Time next_read_ GUARDED_BY(mutex_) = absl::InfinitePast();
  mutable GpuStatus status_ GUARDED_BY(mutex_);
  mutable double read_errors_ GUARDED_BY(mutex_) = 0;
  // Whether the log has been told, so that it is told once.
  mutable bool has_logged_loss_ GUARDED_BY(mutex_) = false;
  mutable bool has_logged_errors_ GUARDED_BY(mutex_) = false;
};

// Puts the metrics of the GPU with this PCI bus id, as cudaDeviceGetPCIBusId writes it, on the page
// of `endpoint`. The errors of GpuMonitor::Open, after which the page is as it was: a worker can go
// on without.
absl::Status AddGpuMetrics(const std::string& pci_bus_id, MetricsEndpoint& endpoint);

}  // namespace phalanx

#endif  // PHALANX_WORKER_GPU_METRICS_H_
