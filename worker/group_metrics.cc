#include "worker/group_metrics.h"

namespace phalanx {

GroupMetrics::GroupMetrics(prometheus::Registry& registry)
    : epoch_(prometheus::BuildGauge()
                 .Name("phalanx_group_epoch")
                 .Help("How often the worker group has formed: 1, and one more after each loss.")
                 .Register(registry)
                 .Add({})),
      losses_total_(prometheus::BuildCounter()
                        .Name("phalanx_group_losses_total")
                        .Help("How often the worker group has lost a rank.")
                        .Register(registry)
                        .Add({})),
      rank_restarts_total_(prometheus::BuildCounter()
                               .Name("phalanx_rank_restarts_total")
                               .Help("Ranks that were started again, or waited for, after a loss.")
                               .Register(registry)
                               .Add({})),
      heal_seconds(prometheus::BuildHistogram()
                       .Name("phalanx_group_heal_seconds")
                       .Help("From the loss of a rank to serving again.")
                       .Register(registry)
                       .Add({}, prometheus::Histogram::BucketBoundaries{0.1, 0.25, 0.5, 1, 2, 5, 10,
                                                                        30, 60, 120, 300})) {}

void GroupMetrics::Update(const GroupLeader& group) {
  epoch_.Set(static_cast<double>(group.epoch()));
  losses_total_.Increment(group.losses() - losses_total_.Value());
  rank_restarts_total_.Increment(group.rank_restarts() - rank_restarts_total_.Value());
}

}  // namespace phalanx
