// What each rank of a group, the leader too, tells of its own work. What the group has once, like
// requests and KV blocks, is in the leader's metrics alone (worker/engine/engine_metrics.h,
// worker/rank_state_metrics.h): so a sum over the pages of a group counts nothing twice.
#ifndef PHALANX_WORKER_RANK_METRICS_H_
#define PHALANX_WORKER_RANK_METRICS_H_

#include "absl/time/time.h"
#include "prometheus/counter.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "worker/step/step.h"

namespace phalanx {

// Thread-safe. `registry` owns the series and must outlive this object; one per registry.
class RankMetrics {
 public:
  explicit RankMetrics(prometheus::Registry& registry);
  RankMetrics(const RankMetrics&) = delete;
  RankMetrics& operator=(const RankMetrics&) = delete;

  // To be called once for each step, with the time that it took on this rank.
  void ObserveStep(absl::Duration step_time, const StepResult& result);

 private:
  prometheus::Histogram& step_seconds_;
  prometheus::Histogram& all_reduce_seconds_;
  prometheus::Counter& all_reduce_bytes_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_RANK_METRICS_H_
