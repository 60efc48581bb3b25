// The metrics of a rank that is not its group's leader. They have the names of EngineMetrics, as
// far as each rank has something of its own to tell. What the group has once, like requests and KV
// blocks, is in the leader's metrics.
#ifndef PHALANX_WORKER_RANK_METRICS_H_
#define PHALANX_WORKER_RANK_METRICS_H_

#include <optional>

#include "absl/time/time.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"

namespace phalanx {

// Thread-safe. `registry` owns the series and must outlive this object; one per registry.
class RankMetrics {
 public:
  explicit RankMetrics(prometheus::Registry& registry);
  RankMetrics(const RankMetrics&) = delete;
  RankMetrics& operator=(const RankMetrics&) = delete;

  // To be called once for each step. `comm_time` is the part of `step_time` that was spent in
  // collectives, if that was measured.
  void ObserveStep(absl::Duration step_time, std::optional<absl::Duration> comm_time);

 private:
  prometheus::Histogram& step_seconds_;
  prometheus::Histogram& all_reduce_seconds_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_RANK_METRICS_H_
