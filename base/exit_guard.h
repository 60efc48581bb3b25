// Bounds how long the end of a program may take.
#ifndef PHALANX_BASE_EXIT_GUARD_H_
#define PHALANX_BASE_EXIT_GUARD_H_

#include <atomic>
#include <thread>

#include "absl/time/time.h"
#include "base/shutdown_signal.h"

namespace phalanx {

// To be made by main when it begins to destroy what it serves with. If the guard still exists after
// `timeout`, it logs that and ends the process with exit code 1, whatever other threads do. When
// another SIGINT or SIGTERM comes it does so with exit code 0, as a second signal does at any
// earlier moment. Nobody else may wait on `shutdown`, which must outlive the guard.
class ExitGuard {
 public:
  ExitGuard(ShutdownSignal* shutdown, absl::Duration timeout);
  ExitGuard(const ExitGuard&) = delete;
  ExitGuard& operator=(const ExitGuard&) = delete;
  // To be called in time: then the guard does nothing.
  ~ExitGuard();

 private:
  void Run(absl::Duration timeout);

  ShutdownSignal* const shutdown_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace phalanx

#endif  // PHALANX_BASE_EXIT_GUARD_H_
