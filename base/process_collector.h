// The metrics that every process has.
#ifndef PHALANX_BASE_PROCESS_COLLECTOR_H_
#define PHALANX_BASE_PROCESS_COLLECTOR_H_

#include <string>
#include <vector>

#include "base/mutex.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

namespace phalanx {

// phalanx_build_info{version,program}, phalanx_log_lines_dropped_total, process_cpu_seconds_total,
// process_resident_memory_bytes, process_open_fds, process_max_fds, process_start_time_seconds: the
// names of the Prometheus guidelines for client libraries. Opens what it reads when it is made, so
// that it works when there are no descriptors left. Thread-safe.
class ProcessCollector final : public prometheus::Collectable {
 public:
  explicit ProcessCollector(const std::string& program);
  ProcessCollector(const ProcessCollector&) = delete;
  ProcessCollector& operator=(const ProcessCollector&) = delete;
  ~ProcessCollector() override;

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  double OpenFds() const;
  double ResidentBytes() const;

  const std::string program_;
  const double start_seconds_;
  // /proc/self/statm.
  const int statm_fd_;
  mutable Mutex mutex_;
  // DIR* of /proc/self/fd; null if it could not be opened. Guarded, because reading it moves its
  // position.
  void* const fd_folder_ GUARDED_BY(mutex_);
};

}  // namespace phalanx

#endif  // PHALANX_BASE_PROCESS_COLLECTOR_H_
