// Runs steps on a thread of its own.
#ifndef PHALANX_WORKER_GROUP_STEP_RUNNER_H_
#define PHALANX_WORKER_GROUP_STEP_RUNNER_H_

#include <deque>
#include <functional>
#include <optional>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "worker/step/step.h"

namespace phalanx {

// So that the thread which plans steps can plan the next one meanwhile. One thread makes all calls.
class StepRunner {
 public:
  // What runs a step; see Decoder. Called by the runner's thread, for one step after the other.
  struct Work {
    std::function<absl::Status(const StepBlock&)> launch_forward;
    std::function<absl::Status(const SamplingBlock&)> launch_sampling;
    std::function<absl::StatusOr<StepResult>()> await;
    // Whether the next step is to be launched, if there is one, before this one is awaited.
    std::function<bool()> launches_ahead;
  };

  explicit StepRunner(Work work);
  StepRunner(const StepRunner&) = delete;
  StepRunner& operator=(const StepRunner&) = delete;
  // Waits for the steps that were launched and forgets the others.
  ~StepRunner();

  void Submit(Step step);
  // The parts of a step one by one: no other step is submitted between them.
  void SubmitForward(StepBlock forward);
  void SubmitSampling(SamplingBlock sampling);
  // Blocks for the result of the oldest step that was submitted and not awaited. There must be one.
  // ABORTED if its sampling was not submitted: the step is dropped, and none may follow.
  absl::StatusOr<StepResult> Await();

 private:
  struct PendingStep {
    StepBlock forward;
    std::optional<SamplingBlock> sampling;
  };
  enum class Turn { kForward, kSampling, kAwait, kDrop, kEnd };

  void Loop();
  // What is to be done when `launched` steps have been launched and, if `half`, the forward part of
  // the one after them. Waits if that is nothing.
  Turn NextTurn(int launched, bool half);
  StepBlock TakeForward();
  // Takes the first step out, which is complete now.
  SamplingBlock TakeSampling();
  // The first step was dropped, or has failed.
  void FinishFirst(absl::Status status);
  void Finish(absl::StatusOr<StepResult> result);

  const Work work_;
  Mutex mutex_;
  // Signalled when a part of a step comes, a step is dropped, or the thread is to end.
  CondVar submitted_;
  // Signalled when a step is done.
  CondVar done_;
  // Those whose parts have not both been launched.
  std::deque<PendingStep> steps_ GUARDED_BY(mutex_);
  // Steps that were submitted and not awaited, and whether the last one's sampling is missing.
  int unawaited_ GUARDED_BY(mutex_) = 0;
  bool sampling_is_due_ GUARDED_BY(mutex_) = false;
  bool dropped_ GUARDED_BY(mutex_) = false;
  std::deque<absl::StatusOr<StepResult>> results_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_STEP_RUNNER_H_
