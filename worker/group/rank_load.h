// How busy a rank is, as it tells its leader.
#ifndef PHALANX_WORKER_GROUP_RANK_LOAD_H_
#define PHALANX_WORKER_GROUP_RANK_LOAD_H_

#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "base/mutex.h"

namespace phalanx {

// Sums since the process began.
struct RankLoad {
  uint64_t steps = 0;
  absl::Duration step_time = absl::ZeroDuration();
  // Of the steps whose collectives were timed.
  uint64_t timed_steps = 0;
  // Time in collectives, waiting for other ranks included.
  absl::Duration comm_time = absl::ZeroDuration();

  RankLoad& operator+=(const RankLoad& other) {
    steps += other.steps;
    step_time += other.step_time;
    timed_steps += other.timed_steps;
    comm_time += other.comm_time;
    return *this;
  }
  friend RankLoad operator-(RankLoad a, const RankLoad& b) {
    a.steps -= b.steps;
    a.step_time -= b.step_time;
    a.timed_steps -= b.timed_steps;
    a.comm_time -= b.comm_time;
    return a;
  }
};

// Counts them. Thread-safe.
class RankLoadCounter {
 public:
  // To be called once for each step; `comm_time` is StepResult::comm_time.
  void Observe(absl::Duration step_time, std::optional<absl::Duration> comm_time) {
    MutexLock lock(&mutex_);
    load_ += {.steps = 1,
              .step_time = step_time,
              .timed_steps = comm_time.has_value() ? 1u : 0u,
              .comm_time = comm_time.value_or(absl::ZeroDuration())};
  }
  RankLoad load() const {
    MutexLock lock(&mutex_);
    return load_;
  }

 private:
  mutable Mutex mutex_;
  RankLoad load_ GUARDED_BY(mutex_);
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_RANK_LOAD_H_
