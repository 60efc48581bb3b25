// What the leader tells of its ranks on its metrics page.
#ifndef PHALANX_WORKER_RANK_STATE_METRICS_H_
#define PHALANX_WORKER_RANK_STATE_METRICS_H_

#include <vector>

#include "prometheus/gauge.h"
#include "prometheus/registry.h"
#include "worker/group/rank_board.h"

namespace phalanx {

// Thread-safe. `registry` owns the series and must outlive this object; one per registry.
class RankStateMetrics {
 public:
  // For a group of `world` ranks.
  RankStateMetrics(prometheus::Registry& registry, int world);
  RankStateMetrics(const RankStateMetrics&) = delete;
  RankStateMetrics& operator=(const RankStateMetrics&) = delete;

  // To be called several times a second. `ranks` are all of the group, in order.
  void Update(const std::vector<RankState>& ranks);

 private:
  prometheus::Gauge& skew_seconds_;
  // By rank; there is none for the leader, which does not listen to itself.
  std::vector<prometheus::Gauge*> heartbeat_age_seconds_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_RANK_STATE_METRICS_H_
