// What the engine needs of the machinery that computes.
#ifndef PHALANX_WORKER_ENGINE_STEP_EXECUTOR_H_
#define PHALANX_WORKER_ENGINE_STEP_EXECUTOR_H_

#include <memory_resource>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/step/step.h"

namespace phalanx {

// Runs steps on every rank of the group, in the order in which they are submitted. A step may be
// submitted in its two parts, the second one while the first runs. Engine thread only. After an
// error no step may follow: the group is lost (UNAVAILABLE when a rank died or hung, DATA_LOSS when
// ranks disagree, INTERNAL when a device failed). Where it can form again (Recovers), steps may be
// submitted once it has.
class StepExecutor {
 public:
  virtual ~StepExecutor() = default;

  // How many steps may be in flight, that is, submitted but not awaited: 1, or 2 if it gains time
  // to plan a step while another one runs.
  virtual int max_in_flight() const { return 1; }

  // Where steps should be written. Outlives the executor.
  virtual std::pmr::memory_resource* step_memory() const {
    return std::pmr::get_default_resource();
  }

  // Takes the next step. Does not wait for steps that run.
  virtual absl::Status Submit(Step step) = 0;

  // The same in two parts, with no other step between them. Ranks that can begin with the first,
  // and need the second when the logits are there. Here both are taken when the second has come.
  virtual absl::Status SubmitForward(StepBlock forward) {
    forward_ = std::move(forward);
    return absl::OkStatus();
  }
  virtual absl::Status SubmitSampling(SamplingBlock sampling) {
    return Submit({.forward = std::move(forward_), .sampling = std::move(sampling)});
  }

  // Blocks until the oldest step in flight is done, and returns its result. There must be one. It
  // is not in flight any more, even if it failed. A step whose second part was not submitted fails:
  // it is dropped on every rank, and no step may follow until the group has formed again.
  virtual absl::StatusOr<StepResult> Await() = 0;

  // To be asked after Submit or Await has failed, with that error: whether the group may form
  // again. Its owner then has it do so, and calls Engine::Resume or Engine::Fail.
  virtual bool Recovers(const absl::Status& failure) { return false; }

 private:
  // The first part of a step whose second one has not come.
  StepBlock forward_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_STEP_EXECUTOR_H_
