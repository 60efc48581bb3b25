// Runs steps on a thread of its own.
#ifndef PHALANX_WORKER_GROUP_STEP_RUNNER_H_
#define PHALANX_WORKER_GROUP_STEP_RUNNER_H_

#include <deque>
#include <functional>
#include <thread>

#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "worker/step/step.h"

namespace phalanx {

// So that the thread which plans steps can plan the next one meanwhile. One thread makes all calls.
class StepRunner {
 public:
  using RunStep = std::function<absl::StatusOr<StepResult>(const Step&)>;

  // `run` is called by the runner's thread, for one step after the other.
  explicit StepRunner(RunStep run);
  StepRunner(const StepRunner&) = delete;
  StepRunner& operator=(const StepRunner&) = delete;
  // Waits for the step that runs and forgets the others.
  ~StepRunner();

  void Submit(Step step);
  // Blocks for the result of the oldest step that was submitted and not awaited. There must be one.
  absl::StatusOr<StepResult> Await();

 private:
  void Loop();

  const RunStep run_;
  Mutex mutex_;
  // Signalled when a step comes or the thread is to end.
  CondVar submitted_;
  // Signalled when a step is done.
  CondVar done_;
  std::deque<Step> steps_ GUARDED_BY(mutex_);
  std::deque<absl::StatusOr<StepResult>> results_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_STEP_RUNNER_H_
