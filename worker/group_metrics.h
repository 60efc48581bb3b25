// The metrics of a worker group as a whole, which its leader has.
#ifndef PHALANX_WORKER_GROUP_METRICS_H_
#define PHALANX_WORKER_GROUP_METRICS_H_

#include "prometheus/counter.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "worker/group/group_leader.h"

namespace phalanx {

// `registry` owns the series and must outlive this object; one per registry.
class GroupMetrics {
 public:
  explicit GroupMetrics(prometheus::Registry& registry);
  GroupMetrics(const GroupMetrics&) = delete;
  GroupMetrics& operator=(const GroupMetrics&) = delete;

  // To be called when the group is ready, the first time and again.
  void Update(const GroupLeader& group);

 private:
  prometheus::Gauge& epoch_;
  prometheus::Counter& losses_total_;
  prometheus::Counter& rank_restarts_total_;

 public:
  prometheus::Histogram& heal_seconds;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_METRICS_H_
