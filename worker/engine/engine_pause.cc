// How the engine goes through the loss of its worker group: it pauses, and goes on when the group
// has formed again. Pause and Resume are for any thread, the rest is the engine thread's.
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "worker/engine/engine.h"

namespace phalanx {
namespace {

// A request whose steps are lost that often in a row may well be why.
constexpr int kMostLostSteps = 3;

}  // namespace

bool Engine::Pause(absl::Duration timeout) {
  const absl::Time deadline = clock_->Now() + timeout;
  MutexLock lock(&mutex_);
  if (paused_ == Paused::kNo) paused_ = Paused::kWanted;
  wake_.Signal();
  while (paused_ != Paused::kYes && phase_ != Phase::kEnded) {
    const absl::Duration left = deadline - clock_->Now();
    if (left <= absl::ZeroDuration()) return false;
    pause_changed_.WaitFor(&mutex_, left);
  }
  return true;
}

void Engine::Resume() {
  MutexLock lock(&mutex_);
  paused_ = Paused::kNo;
  // What was computed before is lost, and no step is late for that.
  last_progress_ = clock_->Now();
  wake_.Signal();
}

bool Engine::Survives(const absl::Status& failure) {
  if (executor_->Recovers(failure)) {
    LOG(WARNING) << "a step failed, " << requests_.size()
                 << " requests wait until the group has formed again: " << failure.message();
    BeginPause();
    return true;
  }
  LOG(ERROR) << "a step failed, the engine ends: " << failure;
  Fail(failure);
  // Takes in what was submitted during the step, so that it ends with the other requests. It is all
  // that there will be: since Fail, Submit refuses.
  TakeCommands();
  return false;
}

bool Engine::PauseIsWanted() const {
  MutexLock lock(&mutex_);
  return paused_ == Paused::kWanted;
}

void Engine::BeginPause() {
  for (; !in_flight_.empty(); in_flight_.pop_front()) executor_->Await().IgnoreError();
  scheduler_.BeginAnew();
  UpdateLoad();
  MutexLock lock(&mutex_);
  paused_ = Paused::kYes;
  pause_changed_.SignalAll();
}

void Engine::NoteLostStep(const StepPlan& plan) {
  for (const PlannedChunk& chunk : plan.chunks) {
    const auto it = requests_.find(chunk.id);
    if (it == requests_.end() || ++it->second.lost_steps < kMostLostSteps) continue;
    AddEvent(it->second).error = absl::UnavailableError(absl::StrCat(
        "the worker group was lost ", kMostLostSteps, " times while it worked on this request"));
    EndRequest(chunk.id, absl::StatusCode::kUnavailable);
  }
}

}  // namespace phalanx
