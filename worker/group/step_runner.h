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
  // What runs a step, in two parts; see Decoder. Called by the runner's thread, `launch` for one
  // step after the other.
  struct Work {
    std::function<absl::Status(const Step&)> launch;
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
  // Blocks for the result of the oldest step that was submitted and not awaited. There must be one.
  absl::StatusOr<StepResult> Await();

 private:
  void Loop();
  // The next step to launch: waits for one unless `launched` steps have been launched. Nothing if
  // there is none, or the runner is to end.
  std::optional<Step> NextToLaunch(int launched);
  void Finish(absl::StatusOr<StepResult> result);

  const Work work_;
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
