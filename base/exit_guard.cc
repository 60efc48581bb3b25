#include "base/exit_guard.h"

#include <unistd.h>

#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/log.h"

namespace phalanx {
namespace {

// Time for the thread that writes the log.
constexpr absl::Duration kLastWords = absl::Milliseconds(200);

}  // namespace

ExitGuard::ExitGuard(ShutdownSignal* shutdown, absl::Duration timeout)
    : shutdown_(shutdown), thread_([this, timeout] { Run(timeout); }) {}

ExitGuard::~ExitGuard() {
  stopping_ = true;
  shutdown_->Notify();
  thread_.join();
}

void ExitGuard::Run(absl::Duration timeout) {
  const absl::Time end = MonotonicClock()->Now() + timeout;
  // Notify may have been called before, for another reason: then Wait returns 0.
  int signal = 0;
  while (signal == 0 && !stopping_) signal = shutdown_->Wait(end - MonotonicClock()->Now());
  if (stopping_) return;
  if (signal > 0) {
    LOG(WARNING) << "signal " << signal << " while ending: the process ends at once";
  } else {
    LOG(ERROR) << "the end took longer than " << absl::FormatDuration(timeout)
               << ": the process ends at once";
  }
  absl::SleepFor(kLastWords);
  _exit(signal > 0 ? 0 : 1);
}

}  // namespace phalanx
