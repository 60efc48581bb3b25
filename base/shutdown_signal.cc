#include "base/shutdown_signal.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>

#include "base/clock.h"
#include "base/log.h"

namespace phalanx {

ShutdownSignal::ShutdownSignal() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  CHECK(pthread_sigmask(SIG_BLOCK, &signals, nullptr) == 0);
  signal(SIGPIPE, SIG_IGN);
  signal_fd_ = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  event_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  CHECK(signal_fd_ >= 0 && event_fd_ >= 0) << "no descriptors left at start";
}

ShutdownSignal::~ShutdownSignal() {
  close(signal_fd_);
  close(event_fd_);
}

int ShutdownSignal::Wait(absl::Duration timeout) {
  const bool forever = timeout == absl::InfiniteDuration();
  const absl::Time end = forever ? absl::InfiniteFuture() : MonotonicClock()->Now() + timeout;
  while (true) {
    pollfd fds[] = {{signal_fd_, POLLIN, 0}, {event_fd_, POLLIN, 0}};
    int wait_ms = -1;
    if (!forever) {
      const int64_t left_ms = absl::ToInt64Milliseconds(end - MonotonicClock()->Now()) + 1;
      wait_ms = static_cast<int>(std::clamp<int64_t>(left_ms, 0, INT_MAX));
    }
    const int ready = poll(fds, 2, wait_ms);
    if (ready < 0 && errno == EINTR) continue;
    // A signal goes before Notify. Both descriptors are non-blocking, so what has not come is
    // simply not read.
    signalfd_siginfo info;
    if (read(signal_fd_, &info, sizeof(info)) == sizeof(info)) {
      return static_cast<int>(info.ssi_signo);
    }
    uint64_t count = 0;
    if (read(event_fd_, &count, sizeof(count)) == sizeof(count)) return 0;
    if (!forever && MonotonicClock()->Now() >= end) return -1;
  }
}

bool ShutdownSignal::pending() const {
  pollfd signals{signal_fd_, POLLIN, 0};
  return poll(&signals, 1, 0) > 0;
}

void ShutdownSignal::Notify() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(event_fd_, &one, sizeof(one));
}

}  // namespace phalanx
