#include "worker/serve_group.h"

#include <signal.h>

#include <algorithm>
#include <iostream>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status.h"

namespace phalanx {
namespace {

// How long sessions have to send the last events of their requests.
constexpr absl::Duration kServerGrace = absl::Seconds(2);
// How long the step that runs may go on when no request is left that needs it. After kStepPatience
// it is broken off. If the engine's thread has not ended kBreakOffPatience later, it hangs.
constexpr absl::Duration kStepPatience = absl::Seconds(1);
constexpr absl::Duration kBreakOffPatience = absl::Seconds(2);
// How long the engine's thread has to leave a step that is broken off because a rank is lost.
constexpr absl::Duration kPausePatience = absl::Seconds(10);
// How exactly durations are told.
constexpr absl::Duration kShown = absl::Milliseconds(1);
// How often a second signal is looked for while requests finish.
constexpr absl::Duration kSignalInterval = absl::Milliseconds(50);

// The thread that runs the engine.
class EngineThread {
 public:
  // `on_end` is called by the thread when the engine has ended.
  EngineThread(Engine& engine, std::function<void()> on_end)
      : thread_([this, &engine, on_end = std::move(on_end)] {
          absl::Status status = engine.Run();
          {
            MutexLock lock(&mutex_);
            result_ = std::move(status);
            ended_.SignalAll();
          }
          on_end();
        }) {}
  ~EngineThread() { thread_.join(); }

  // The status that the engine ended with; nothing if it still runs after `timeout`.
  std::optional<absl::Status> Wait(absl::Duration timeout) {
    const absl::Time deadline = MonotonicClock()->Now() + timeout;
    MutexLock lock(&mutex_);
    while (!result_.has_value()) {
      const absl::Duration left = deadline - MonotonicClock()->Now();
      if (left <= absl::ZeroDuration()) break;
      ended_.WaitFor(&mutex_, left);
    }
    return result_;
  }

 private:
  Mutex mutex_;
  CondVar ended_;
  std::optional<absl::Status> result_ GUARDED_BY(mutex_);
  std::thread thread_;
};

// Goes on as before, with health NOT_SERVING, until coordinators have turned to other groups.
// Returns whether requests are to be finished after that: they are not after a second signal, or if
// the engine has ended.
bool StayALameDuck(const WorkerOptions& options, int signal, ShutdownSignal& shutdown) {
  // A person at a terminal has no coordinators to wait for.
  if (signal != SIGTERM || options.lame_duck == absl::ZeroDuration()) return true;
  LOG(INFO) << "SIGTERM: no longer SERVING, but taking requests for "
            << absl::FormatDuration(options.lame_duck) << " (--lame_duck)";
  // Only a timeout is negative.
  return shutdown.Wait(options.lame_duck) < 0;
}

// Lets requests finish until the drain timeout, a second signal or the loss of the group.
void Drain(const WorkerOptions& options, Engine& engine, const GroupLeader& group,
           const ShutdownSignal& shutdown) {
  LOG(INFO) << "draining for at most " << absl::FormatDuration(options.drain_timeout)
            << " (--drain_timeout)";
  const absl::Time deadline = MonotonicClock()->Now() + options.drain_timeout;
  while (true) {
    const absl::Duration left = deadline - MonotonicClock()->Now();
    if (engine.Drain(std::min(left, kSignalInterval)) || !group.loss().cause.ok()) return;
    if (shutdown.pending()) {
      LOG(WARNING) << "a second signal: ending the requests that are left";
      return;
    }
    if (left <= absl::ZeroDuration()) {
      LOG(WARNING) << "requests are left after --drain_timeout "
                   << absl::FormatDuration(options.drain_timeout) << ": ending them";
      return;
    }
  }
}

// To be called when the engine has been told to end. Returns the status that it ended with.
absl::Status AwaitEnd(EngineThread& engine, GroupLeader& group) {
  std::optional<absl::Status> result = engine.Wait(kStepPatience);
  if (!result.has_value()) {
    LOG(WARNING) << "breaking off the step that runs";
    // Ranks that wait for each other give up. A kernel that does not end cannot be stopped.
    group.Abandon();
    result = engine.Wait(kBreakOffPatience);
  }
  if (!result.has_value()) LOG(FATAL) << "a step hangs on this rank: ending the process";
  return *result;
}

}  // namespace

absl::Status GroupServing::Heal() {
  const absl::Time start = MonotonicClock()->Now();
  if (!engine_.Pause(kPausePatience)) {
    return absl::InternalError("the step that ran when a rank was lost does not end");
  }
  const uint64_t lost_epoch = group_.epoch();
  RETURN_IF_ERROR(group_.Heal(rejoin_, weights_digest_));
  const absl::Duration time = MonotonicClock()->Now() - start;
  metrics_.heal_seconds.Observe(absl::ToDoubleSeconds(time));
  metrics_.Update(group_);
  LOG(INFO) << "the group serves again after " << absl::FormatDuration(absl::Trunc(time, kShown))
            << ": epoch " << group_.epoch() << " in place of " << lost_epoch << ", "
            << engine_.load().waiting_requests << " requests go on";
  engine_.Resume();
  return absl::OkStatus();
}

absl::Status GroupServing::Run(const std::string& ready_line) {
  EngineThread thread(engine_, [this] { shutdown_.Notify(); });
  metrics_.Update(group_);
  server_.SetServing(true);
  std::cout << ready_line << std::endl;

  absl::Status lost;
  while (true) {
    const int signal = shutdown_.Wait();
    if (signal > 0) {
      server_.SetServing(false);
      if (StayALameDuck(options_, signal, shutdown_)) Drain(options_, engine_, group_, shutdown_);
      lost = group_.loss().cause;
      break;
    }
    if (thread.Wait(absl::ZeroDuration()).has_value()) break;
    lost = group_.loss().cause;
    // Told of a loss that has been dealt with.
    if (lost.ok()) continue;
    server_.SetServing(false);
    if (!group_.CanHeal()) break;
    lost = Heal();
    if (!lost.ok()) break;
    server_.SetServing(true);
  }
  server_.SetServing(false);
  if (lost.ok() || absl::IsCancelled(lost)) {
    engine_.Stop();
  } else {
    engine_.Fail(lost);
  }
  absl::Status engine_status = AwaitEnd(thread, group_);
  // After the engine, which ends the sessions: so they have their last events to send.
  server_.Shutdown(kServerGrace);
  // A signal has come while the group formed again.
  if (absl::IsCancelled(lost)) return absl::OkStatus();
  RETURN_IF_ERROR(lost);
  return engine_status;
}

}  // namespace phalanx
