#include "coordinator/routing/target_watcher.h"

#include <set>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "base/mutex.h"

namespace phalanx {

struct TargetWatcher::State {
  struct Answer {
    std::vector<std::string> addresses;
    bool failing = false;
  };

  std::vector<HostPort> targets;
  ResolveFunction resolve;
  absl::Duration interval;

  Mutex mutex;
  CondVar wake;
  // One for each target.
  std::vector<Answer> answers GUARDED_BY(mutex);
  bool news GUARDED_BY(mutex) = false;
  bool stopping GUARDED_BY(mutex) = false;
};

TargetWatcher::TargetWatcher(std::vector<HostPort> targets, ResolveFunction resolve,
                             absl::Duration interval)
    : state_(std::make_shared<State>()) {
  const size_t count = targets.size();
  state_->targets = std::move(targets);
  state_->resolve = std::move(resolve);
  state_->interval = interval;
  {
    MutexLock lock(&state_->mutex);
    state_->answers.resize(count);
  }
  // Detached, because a thread that waits for a name service cannot be told to stop. It shares the
  // state, which stays until the last of them is gone.
  for (size_t i = 0; i < count; ++i) {
    std::thread([state = state_, i] { Follow(state, i); }).detach();
  }
}

TargetWatcher::~TargetWatcher() { Stop(); }

void TargetWatcher::Stop() {
  MutexLock lock(&state_->mutex);
  state_->stopping = true;
  state_->wake.SignalAll();
}

void TargetWatcher::Follow(const std::shared_ptr<State>& state, size_t index) {
  while (true) {
    absl::StatusOr<std::vector<std::string>> addresses = state->resolve(state->targets[index]);
    MutexLock lock(&state->mutex);
    if (state->stopping) return;
    State::Answer& answer = state->answers[index];
    // Logged when it begins to fail, not at every try. The addresses that it had stay.
    const bool failing = !addresses.ok();
    if (failing && !answer.failing) LOG(WARNING) << addresses.status().message();
    answer.failing = failing;
    if (!failing) answer.addresses = *std::move(addresses);
    state->news = true;
    state->wake.SignalAll();
    const absl::Time end = MonotonicClock()->Now() + state->interval;
    while (!state->stopping) {
      const absl::Duration left = end - MonotonicClock()->Now();
      if (left <= absl::ZeroDuration()) break;
      state->wake.WaitFor(&state->mutex, left);
    }
    if (state->stopping) return;
  }
}

std::optional<std::vector<std::string>> TargetWatcher::Next() {
  State& state = *state_;
  MutexLock lock(&state.mutex);
  const absl::Time end = MonotonicClock()->Now() + state.interval;
  // Returns after the interval even without news, so that the caller can look after groups that
  // have become idle.
  while (!state.stopping && !state.news) {
    const absl::Duration left = end - MonotonicClock()->Now();
    if (left <= absl::ZeroDuration()) break;
    state.wake.WaitFor(&state.mutex, left);
  }
  if (state.stopping) return std::nullopt;
  state.news = false;
  std::set<std::string> all;
  for (const State::Answer& answer : state.answers) {
    all.insert(answer.addresses.begin(), answer.addresses.end());
  }
  return std::vector<std::string>(all.begin(), all.end());
}

}  // namespace phalanx
