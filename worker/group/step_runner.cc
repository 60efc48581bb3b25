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
  steps_.push_back({.forward = std::move(step.forward), .sampling = std::move(step.sampling)});
  ++unawaited_;
  submitted_.Signal();
}

void StepRunner::SubmitForward(StepBlock forward) {
  MutexLock lock(&mutex_);
  steps_.push_back({.forward = std::move(forward), .sampling = std::nullopt});
  ++unawaited_;
  sampling_is_due_ = true;
  submitted_.Signal();
}

void StepRunner::SubmitSampling(SamplingBlock sampling) {
  MutexLock lock(&mutex_);
  sampling_is_due_ = false;
  // Its forward part may have failed.
  if (!steps_.empty()) steps_.back().sampling = std::move(sampling);
  submitted_.Signal();
}

absl::StatusOr<StepResult> StepRunner::Await() {
  MutexLock lock(&mutex_);
  if (--unawaited_ == 0 && sampling_is_due_) {
    dropped_ = true;
    submitted_.Signal();
  }
  while (results_.empty()) done_.Wait(&mutex_);
  absl::StatusOr<StepResult> result = std::move(results_.front());
  results_.pop_front();
  return result;
}

StepRunner::Turn StepRunner::NextTurn(int launched, bool half) {
  const bool may_launch =
      half || launched == 0 || (launched < Decoder::kMaxInFlight && work_.launches_ahead());
  MutexLock lock(&mutex_);
  while (true) {
    const bool has_step = may_launch && !steps_.empty() && !stopping_ && !dropped_;
    if (has_step && !half) return Turn::kForward;
    if (has_step && steps_.front().sampling.has_value()) return Turn::kSampling;
    // Only with the result of the step before can the sampling of the next one be made.
    if (launched > 0) return Turn::kAwait;
    if (stopping_) return Turn::kEnd;
    if (dropped_ && !steps_.empty()) return Turn::kDrop;
    submitted_.Wait(&mutex_);
  }
}

StepBlock StepRunner::TakeForward() {
  MutexLock lock(&mutex_);
  return std::move(steps_.front().forward);
}

SamplingBlock StepRunner::TakeSampling() {
  MutexLock lock(&mutex_);
  SamplingBlock sampling = *std::move(steps_.front().sampling);
  steps_.pop_front();
  return sampling;
}

void StepRunner::FinishFirst(absl::Status status) {
  MutexLock lock(&mutex_);
  steps_.pop_front();
  results_.push_back(std::move(status));
  done_.Signal();
}

void StepRunner::Finish(absl::StatusOr<StepResult> result) {
  MutexLock lock(&mutex_);
  results_.push_back(std::move(result));
  done_.Signal();
}

void StepRunner::Loop() {
  int launched = 0;
  bool half = false;
  // Results come in the order of the steps.
  const auto finish_launched = [&] {
    for (; launched > 0; --launched) Finish(work_.await());
  };
  while (true) {
    switch (NextTurn(launched, half)) {
      case Turn::kForward: {
        absl::Status status = work_.launch_forward(TakeForward());
        half = status.ok();
        if (half) break;
        finish_launched();
        FinishFirst(std::move(status));
        break;
      }
      case Turn::kSampling: {
        half = false;
        absl::Status status = work_.launch_sampling(TakeSampling());
        if (status.ok()) {
          ++launched;
          break;
        }
        finish_launched();
        Finish(std::move(status));
        break;
      }
      case Turn::kAwait:
        Finish(work_.await());
        --launched;
        break;
      case Turn::kDrop:
        half = false;
        FinishFirst(absl::AbortedError("the step was dropped before its sampling came"));
        break;
      case Turn::kEnd:
        return;
    }
  }
}

}  // namespace phalanx
