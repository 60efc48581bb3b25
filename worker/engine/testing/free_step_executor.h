// A model that costs nothing, for tests and benchmarks of what is around it.
#ifndef PHALANX_WORKER_ENGINE_TESTING_FREE_STEP_EXECUTOR_H_
#define PHALANX_WORKER_ENGINE_TESTING_FREE_STEP_EXECUTOR_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/log.h"
#include "worker/engine/event_sink.h"
#include "worker/engine/step_executor.h"
#include "worker/step/step.h"

namespace phalanx {

// Draws the same token for every row, and scores nothing.
class FreeStepExecutor final : public StepExecutor {
 public:
  absl::Status Submit(Step step) override {
    CHECK(step.sampling.counts().num_score_rows == 0);
    draws_ = step.sampling.counts().num_logit_rows;
    return absl::OkStatus();
  }

  absl::StatusOr<StepResult> Await() override {
    StepResult result;
    result.tokens.assign(draws_, 7);
    return result;
  }

 private:
  int draws_ = 0;
};

// Counts requests that have finished, and drops the rest.
class CountingSink final : public EventSink {
 public:
  void OnStep(absl::Span<const RequestEvent> events, const EngineLoad& load) override {
    for (const RequestEvent& event : events) finished_ += event.finished.has_value() ? 1 : 0;
  }
  void OnEngineEnded(const absl::Status& status) override {}

  // Those since the last call.
  int TakeFinished() { return std::exchange(finished_, 0); }

 private:
  int finished_ = 0;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_TESTING_FREE_STEP_EXECUTOR_H_
