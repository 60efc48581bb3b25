#include "worker/group/step_runner.h"

#include <utility>

namespace phalanx {

StepRunner::StepRunner(RunStep run) : run_(std::move(run)), thread_([this] { Loop(); }) {}

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

void StepRunner::Loop() {
  while (true) {
    Step step;
    {
      MutexLock lock(&mutex_);
      while (steps_.empty() && !stopping_) submitted_.Wait(&mutex_);
      if (stopping_) return;
      step = std::move(steps_.front());
      steps_.pop_front();
    }
    absl::StatusOr<StepResult> result = run_(step);
    MutexLock lock(&mutex_);
    results_.push_back(std::move(result));
    done_.Signal();
  }
}

}  // namespace phalanx
