// What the engine thread does, turn by turn; what other threads may ask of the engine is in
// engine.cc.
#include <utility>
#include <variant>
#include <vector>

#include "absl/types/span.h"
#include "base/status.h"
#include "worker/engine/engine.h"

namespace phalanx {

absl::Status Engine::Run() {
  do {
    WaitForWork();
  } while (RunOnce());
  MutexLock lock(&mutex_);
  return result_;
}

// Deadlines are not waited for while steps run: the loop does not sleep, it runs one step after the
// other and looks at deadlines before each. Only requests whose constraints are being compiled are
// waited for, and their deadlines.
void Engine::WaitForWork() {
  MutexLock lock(&mutex_);
  const auto sleeps = [this]() EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!commands_.empty() || !dumps_.empty() || phase_ >= Phase::kEnding) return false;
    if (paused_ == Paused::kWanted) return false;
    const bool idle = requests_.size() == compiling_ && in_flight_.empty();
    return idle || paused_ == Paused::kYes;
  };
  while (sleeps()) {
    if (deadlines_.empty()) {
      wake_.Wait(&mutex_);
    } else if (wake_.WaitFor(&mutex_, deadlines_.begin()->first - clock_->Now())) {
      return;
    }
  }
}

bool Engine::RunOnce() {
  // What is cancelled or late ends before the step is planned: its blocks are free for this step,
  // unless a step in flight reads them.
  bool ending = !TakeCommands();
  if (!ending) {
    ExpireDeadlines();
    const absl::Status status = Advance();
    ending = !status.ok() && !Survives(status);
  }
  if (ending) {
    EndAllRequests();
    // DumpState has refused since the engine was told to end, so these are the last.
    AnswerDumps();
  }
  // Clients are told before steps that nobody needs any more are waited for.
  PublishEvents();
  if (!ending) return true;
  DropSteps();
  EndSessions();
  return false;
}

absl::Status Engine::Advance() {
  if (PauseIsWanted()) {
    if (!in_flight_.empty()) NoteLostStep(in_flight_.front().plan);
    BeginPause();
  }
  RETURN_IF_ERROR(SubmitSteps());
  // After the next step was submitted, so that on a GPU this costs no time.
  AnswerDumps();
  return AwaitStep();
}

bool Engine::TakeCommands() {
  std::vector<Command> commands;
  bool go_on;
  {
    MutexLock lock(&mutex_);
    // Both are read under one lock: if the engine is to end, these are the last commands. The lock
    // is not held while they are applied, because EndRequest takes it again.
    commands.swap(commands_);
    go_on = phase_ < Phase::kEnding;
  }
  for (Command& command : commands) {
    std::visit([this](auto& c) { Apply(std::move(c)); }, command);
  }
  return go_on;
}

RequestEvent& Engine::AddEvent(const Request& request) {
  return events_.For(request.session, request.id);
}

EngineLoad Engine::UpdateLoad() {
  {
    MutexLock lock(&mutex_);
    running_requests_ = scheduler_.running();
    used_kv_blocks_ = scheduler_.used_blocks();
    // Those among the commands stay as they are.
    waiting_tokens_ -= std::exchange(added_tokens_, 0);
    waiting_tokens_ += scheduler_.waiting_tokens() -
                       std::exchange(waiting_tokens_told_, scheduler_.waiting_tokens());
    tokens_per_second_ = scheduler_.speed().TokensPerSecond().value_or(0);
  }
  const EngineLoad load = this->load();
  metrics_->requests_running.Set(load.running_requests);
  metrics_->requests_waiting.Set(load.waiting_requests);
  metrics_->waiting_tokens.Set(static_cast<double>(load.waiting_tokens));
  metrics_->tokens_per_second.Set(scheduler_.speed().TokensPerSecond().value_or(0));
  metrics_->kv_blocks_used.Set(load.used_kv_blocks);
  metrics_->kv_blocks_cached.Set(scheduler_.cached_blocks());
  const int64_t evictions = scheduler_.evictions();
  metrics_->kv_blocks_evicted_total.Increment(
      static_cast<double>(evictions - std::exchange(evictions_told_, evictions)));
  return load;
}

void Engine::PublishEvents() {
  const EngineLoad load = UpdateLoad();
  // The engine's mutex is not held here, so that sinks may submit and cancel. A session that has
  // been closed has no sink any more, and nobody wants its events.
  events_.Take([&load](SessionState& session, absl::Span<const RequestEvent> events) {
    MutexLock lock(&session.sink_mutex);
    if (session.sink != nullptr) session.sink->OnStep(events, load);
  });
  MutexLock lock(&mutex_);
  unpublished_ends_ = 0;
  if (live_requests_ == 0) idle_.SignalAll();
}

void Engine::EndSessions() {
  std::vector<std::shared_ptr<SessionState>> sessions;
  absl::Status status;
  {
    MutexLock lock(&mutex_);
    if (phase_ == Phase::kEnded) return;
    phase_ = Phase::kEnded;
    pause_changed_.SignalAll();
    // OpenSession has refused since the phase was kEnding, so no session is missing in this copy.
    sessions.assign(sessions_.begin(), sessions_.end());
    status = request_status_;
  }
  for (const std::shared_ptr<SessionState>& session : sessions) {
    MutexLock lock(&session->sink_mutex);
    if (session->sink != nullptr) session->sink->OnEngineEnded(status);
  }
}

}  // namespace phalanx
