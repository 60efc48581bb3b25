// Tries a constraint of a stranger in a process of its own, before it is compiled in this one.
//
// The library that compiles has limits of its own, but there are texts that it works on for long
// or with gigabytes before it meets one, and it cannot be interrupted. So a small process compiles
// first, under limits of processor time and memory that the kernel enforces. What ends it refuses
// one constraint. Compiling the same text again then takes no more.
#ifndef PHALANX_WORKER_CONSTRAINT_CONSTRAINT_CHECK_H_
#define PHALANX_WORKER_CONSTRAINT_CONSTRAINT_CHECK_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/mutex.h"
#include "worker/constraint/constraint_source.h"

namespace phalanx {

// To be called first in main by a program that has a ConstraintChecker. If this process was started
// to check a constraint, does that and returns the exit code for main.
std::optional<int> RunConstraintCheckIfAsked(int argc, char** argv);

// Has a process beside this one, from its first check on: this program, started again. It makes a
// copy of itself for each check, which takes a fraction of what a start takes.
//
// Thread-safe; checks run one after the other.
class ConstraintChecker {
 public:
  struct Cost {
    // All that a check takes in the processes that it is for, to the end of the copy; not the start
    // of the process that makes the copies.
    absl::Duration cpu_time;
    // The largest that the copy was, with what it shares.
    int64_t memory_bytes = 0;
  };

  ConstraintChecker() = default;
  ConstraintChecker(const ConstraintChecker&) = delete;
  ConstraintChecker& operator=(const ConstraintChecker&) = delete;
  // Ends the process.
  ~ConstraintChecker();

  // Whether `source` can be compiled within `limits`, for a vocabulary with these named tokens.
  // Blocks, for about 1 ms and little more than limits.max_cpu_time at most on an idle machine, and
  // 20 ms more for the first one. INVALID_ARGUMENT with the reason, for callers, if it cannot;
  // UNAVAILABLE if the process cannot be started, is ended from outside, or does not answer for
  // 10 s. Sets *cost, if there is one, unless UNAVAILABLE is returned.
  absl::Status Check(const ConstraintSource& source, const ConstraintLimits& limits,
                     absl::Span<const std::string> named_tokens, Cost* cost = nullptr)
      LOCKS_EXCLUDED(mutex_);

  // The process, or -1. For tests.
  pid_t pid() const LOCKS_EXCLUDED(mutex_);

 private:
  absl::Status Start() EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Stop() EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Ask(const ConstraintSource& source, const ConstraintLimits& limits,
           absl::Span<const std::string> named_tokens) EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex mutex_;
  int socket_ GUARDED_BY(mutex_) = -1;
  pid_t pid_ GUARDED_BY(mutex_) = -1;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_CONSTRAINT_CONSTRAINT_CHECK_H_
