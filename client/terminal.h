// Where a command reads and writes, and how the user interrupts it.
#ifndef PHALANX_CLIENT_TERMINAL_H_
#define PHALANX_CLIENT_TERMINAL_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/mutex.h"
#include "client/cancellation.h"

namespace phalanx {

// The user's wish to stop, carried from a signal to what is going on. Thread-safe.
class Interrupt {
 public:
  Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  ~Interrupt();

  // Cancels the call that is being guarded, and makes fd() readable. `signal` is SIGINT or SIGTERM.
  // Not for signal handlers.
  void Raise(int signal);
  bool raised() const;
  // Makes raised() false and fd() unreadable again, unless there was a SIGTERM: that one is final.
  void Clear();
  int fd() const { return event_fd_; }

 private:
  friend class InterruptGuard;

  const int event_fd_;
  mutable Mutex mutex_;
  bool raised_ GUARDED_BY(mutex_) = false;
  bool final_ GUARDED_BY(mutex_) = false;
  Cancellation* guarded_ GUARDED_BY(mutex_) = nullptr;
};

// While it lives, an interrupt (one that was raised before, too) cancels cancellation().
class InterruptGuard {
 public:
  explicit InterruptGuard(Interrupt* interrupt);
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  ~InterruptGuard();

  Cancellation* cancellation() { return &cancellation_; }

 private:
  Interrupt* const interrupt_;
  Cancellation cancellation_;
};

// Three file descriptors, which are lent. Thread-compatible, but the interrupt may be raised by any
// thread.
class Terminal {
 public:
  // `interrupt` is lent.
  Terminal(int in, int out, int err, Interrupt* interrupt);
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  // Unbuffered, so that what is written can be seen at once. Blocks while the reader stalls.
  // CANCELLED if interrupted then, INTERNAL for errors. SIGPIPE must be ignored.
  absl::Status Write(absl::string_view text);
  // Whether a Write failed because the reader is gone.
  bool output_closed() const { return output_closed_; }
  // To standard error; failures are ignored, for there is nowhere to tell them.
  void WriteError(absl::string_view text);

  // The next line without its newline, nullopt at the end of the input. CANCELLED once interrupted.
  absl::StatusOr<std::optional<std::string>> ReadLine();
  // All that is left of the input. Errors as those of ReadLine.
  absl::StatusOr<std::string> ReadAll();

  bool input_is_tty() const;
  bool error_is_tty() const;
  Interrupt* interrupt() { return interrupt_; }

 private:
  // Appends to buffer_; false at the end of the input.
  absl::StatusOr<bool> Fill();

  const int in_;
  const int out_;
  const int err_;
  Interrupt* const interrupt_;
  bool output_closed_ = false;
  std::string buffer_;
};

}  // namespace phalanx

#endif  // PHALANX_CLIENT_TERMINAL_H_
