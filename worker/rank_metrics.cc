#include "worker/rank_metrics.h"

#include "base/metrics_endpoint.h"

namespace phalanx {

RankMetrics::RankMetrics(prometheus::Registry& registry)
    : step_seconds_(prometheus::BuildHistogram()
                        .Name("phalanx_rank_step_seconds")
                        .Help("Time that one step took on this rank.")
                        .Register(registry)
                        .Add({}, StepLatencyBuckets())),
      all_reduce_seconds_(
          prometheus::BuildHistogram()
              .Name("phalanx_engine_all_reduce_seconds")
              .Help("Time that one step spent in collectives on this rank, waiting for peers "
                    "included. On GPUs it is measured, and counted, in one step of 64.")
              .Register(registry)
              .Add({}, StepLatencyBuckets())),
      all_reduce_bytes_(prometheus::BuildCounter()
                            .Name("phalanx_all_reduce_bytes_total")
                            .Help("Bytes of data that this rank gave to collectives, each counted "
                                  "once however many ranks read it.")
                            .Register(registry)
                            .Add({})) {}

void RankMetrics::ObserveStep(absl::Duration step_time, const StepResult& result) {
  step_seconds_.Observe(absl::ToDoubleSeconds(step_time));
  if (result.comm_time.has_value()) {
    all_reduce_seconds_.Observe(absl::ToDoubleSeconds(*result.comm_time));
  }
  all_reduce_bytes_.Increment(static_cast<double>(result.comm_bytes));
}

}  // namespace phalanx
