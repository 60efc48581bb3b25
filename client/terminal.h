// Where a command reads and writes, and how the user interrupts it.
#ifndef PHALANX_CLIENT_TERMINAL_H_
#define PHALANX_CLIENT_TERMINAL_H_

#include <termios.h>

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
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

  // Waits until a key is pressed, at most for `timeout`: nullopt then, and also earlier when a
  // signal came. Ctrl-D at the end of the input. An input that is no terminal has no keys.
  // CANCELLED once interrupted. Not to be mixed with ReadLine and ReadAll.
  absl::StatusOr<std::optional<char>> ReadKey(absl::Duration timeout);
  // While set, keys come one by one and are not echoed. Without effect on an input that is no
  // terminal. Must not be left set.
  void SetKeyMode(bool set);

  struct Size {
    int rows = 24;
    int columns = 80;
  };
  // Of the output; the usual size if it is no terminal, or one that does not tell.
  Size output_size() const;

  bool input_is_tty() const;
  bool output_is_tty() const;
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
  // How the input was before SetKeyMode(true).
  std::optional<termios> line_mode_;
};

}  // namespace phalanx

#endif  // PHALANX_CLIENT_TERMINAL_H_
