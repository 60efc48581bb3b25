// The metrics of a rank that is not its group's leader: what it has in common with EngineMetrics,
// under the same names.
#ifndef PHALANX_WORKER_RANK_METRICS_H_
#define PHALANX_WORKER_RANK_METRICS_H_

#include "absl/time/time.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"

namespace phalanx {

// Thread-safe. `registry` owns the series and must outlive this object; one per registry.
class RankMetrics {
 public:
  // `kv_blocks` is the size of the rank's arena.
  RankMetrics(prometheus::Registry& registry, int kv_blocks);
  RankMetrics(const RankMetrics&) = delete;
  RankMetrics& operator=(const RankMetrics&) = delete;

  // Once a step; `comm_time` is the part of `step_time` spent in collectives.
  void ObserveStep(absl::Duration step_time, absl::Duration comm_time);

 private:
  prometheus::Histogram& step_seconds_;
  prometheus::Histogram& all_reduce_seconds_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_RANK_METRICS_H_
