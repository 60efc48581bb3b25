// Makes SIGINT and SIGTERM something to wait for.
#ifndef PHALANX_BASE_SHUTDOWN_SIGNAL_H_
#define PHALANX_BASE_SHUTDOWN_SIGNAL_H_

#include "absl/time/time.h"

namespace phalanx {

// Blocks SIGINT and SIGTERM in this thread and all that it will start, ignores SIGPIPE, and gives
// out the signals through Wait. To be made in main, before any thread.
class ShutdownSignal {
 public:
  ShutdownSignal();
  ShutdownSignal(const ShutdownSignal&) = delete;
  ShutdownSignal& operator=(const ShutdownSignal&) = delete;
  ~ShutdownSignal();

  // Blocks until a signal came, Notify was called or `timeout` passed. Returns the signal's
  // number, 0 for Notify, -1 for the timeout. One thread at a time.
  int Wait(absl::Duration timeout = absl::InfiniteDuration());

  // Whether a signal has come that Wait has not given out yet. Any thread.
  bool pending() const;
  // Readable while pending(), for threads that have to wait for other things as well.
  int fd() const { return signal_fd_; }

  // Wakes Wait from any thread: for programs that must also end for reasons of their own.
  void Notify();

 private:
  int signal_fd_ = -1;
  int event_fd_ = -1;
};

}  // namespace phalanx

#endif  // PHALANX_BASE_SHUTDOWN_SIGNAL_H_
