// SIGINT and SIGTERM as something to wait for.
#ifndef PHALANX_BASE_SHUTDOWN_SIGNAL_H_
#define PHALANX_BASE_SHUTDOWN_SIGNAL_H_

#include "absl/time/time.h"

namespace phalanx {

// Blocks SIGINT and SIGTERM in this thread and all that it will start, ignores SIGPIPE, and hands
// the signals out through Wait. Make one in main, before any thread.
class ShutdownSignal {
 public:
  ShutdownSignal();
  ShutdownSignal(const ShutdownSignal&) = delete;
  ShutdownSignal& operator=(const ShutdownSignal&) = delete;
  ~ShutdownSignal();

  // Blocks until a signal came, Notify was called or `timeout` passed. Returns the signal's
  // number, 0 for Notify, -1 for the timeout. One thread at a time.
  int Wait(absl::Duration timeout = absl::InfiniteDuration());

  // Whether a signal came that Wait has not handed out. Any thread.
  bool pending() const;
  // Readable while pending(), for who has to wait for other things as well.
  int fd() const { return signal_fd_; }

  // Wakes Wait from any thread: for programs that must also end for reasons of their own.
  void Notify();

 private:
  int signal_fd_ = -1;
  int event_fd_ = -1;
};

}  // namespace phalanx

#endif  // PHALANX_BASE_SHUTDOWN_SIGNAL_H_
