#include "worker/rank_metrics.h"

#include "base/metrics_endpoint.h"

namespace phalanx {

RankMetrics::RankMetrics(prometheus::Registry& registry)
    : step_seconds_(prometheus::BuildHistogram()
                        .Name("phalanx_engine_step_seconds")
                        .Help("Time that one step took on this rank.")
                        .Register(registry)
                        .Add({}, StepLatencyBuckets())),
      all_reduce_seconds_(
          prometheus::BuildHistogram()
              .Name("phalanx_engine_all_reduce_seconds")
              .Help("Time that one step spent in collectives, waiting for peers included. On GPUs "
                    "it is measured, and counted, in one step of 64.")
              .Register(registry)
              .Add({}, StepLatencyBuckets())) {}

void RankMetrics::ObserveStep(absl::Duration step_time, std::optional<absl::Duration> comm_time) {
  step_seconds_.Observe(absl::ToDoubleSeconds(step_time));
  if (comm_time.has_value()) all_reduce_seconds_.Observe(absl::ToDoubleSeconds(*comm_time));
}

}  // namespace phalanx
