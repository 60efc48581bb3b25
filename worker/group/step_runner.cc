#include "worker/group/step_runner.h"

#include <utility>

#include "worker/model/decoder.h"

namespace phalanx {

StepRunner::StepRunner(Work work) : work_(std::move(work)), thread_([this] { Loop(); }) {}

StepRunner::~StepRunner() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    submitted_.Signal();
  }
  thread_.join();
}

void StepRunner::Submit(Step step) {
  MutexLock lock(&mutex_);
  steps_.push_back(std::move(step));
  submitted_.Signal();
}

absl::StatusOr<StepResult> StepRunner::Await() {
  MutexLock lock(&mutex_);
  while (results_.empty()) done_.Wait(&mutex_);
  absl::StatusOr<StepResult> result = std::move(results_.front());
  results_.pop_front();
  return result;
}

std::optional<Step> StepRunner::NextToLaunch(int launched) {
  if (launched == Decoder::kMaxInFlight || (launched > 0 && !work_.launches_ahead())) {
    return std::nullopt;
  }
  MutexLock lock(&mutex_);
  while (steps_.empty() && !stopping_ && launched == 0) submitted_.Wait(&mutex_);
  if (steps_.empty() || stopping_) return std::nullopt;
  Step step = std::move(steps_.front());
  steps_.pop_front();
  return step;
}

void StepRunner::Finish(absl::StatusOr<StepResult> result) {
  MutexLock lock(&mutex_);
  results_.push_back(std::move(result));
  done_.Signal();
}

void StepRunner::Loop() {
  int launched = 0;
  while (true) {
    const std::optional<Step> step = NextToLaunch(launched);
    if (step.has_value()) {
      const absl::Status status = work_.launch(*step);
      if (status.ok()) {
        ++launched;
        continue;
      }
      // Results come in the order of the steps.
      for (; launched > 0; --launched) Finish(work_.await());
      Finish(status);
    } else if (launched > 0) {
      Finish(work_.await());
      --launched;
    } else {
      return;
    }
  }
}

}  // namespace phalanx
