#include "client/terminal.h"

#include <limits.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/errno_text.h"
#include "base/log.h"
#include "base/status.h"

namespace phalanx {
namespace {

constexpr size_t kReadBytes = 64 << 10;

int MakeEventFd() {
  const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  CHECK(fd >= 0) << "eventfd: " << ErrnoText(errno);
  return fd;
}

// Returns 0 or an errno; EINTR if `interrupt_fd` became readable while the reader of `fd` stalled.
int WriteAll(int fd, int interrupt_fd, absl::string_view text) {
  while (!text.empty()) {
    pollfd fds[] = {{fd, POLLOUT, 0}, {interrupt_fd, POLLIN, 0}};
    if (poll(fds, 2, -1) < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    // Text that can be written is written even after an interrupt, so that errors can be told.
    if (fds[0].revents == 0) return EINTR;
    // A pipe that polls as writable takes this much without blocking. More could block where no
    // interrupt is seen.
    const ssize_t written = write(fd, text.data(), std::min<size_t>(text.size(), PIPE_BUF));
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (errno != EINTR && errno != EAGAIN) {
      return errno;
    }
  }
  return 0;
}

}  // namespace

Interrupt::Interrupt() : event_fd_(MakeEventFd()) {}

Interrupt::~Interrupt() { close(event_fd_); }

void Interrupt::Raise(int signal) {
  MutexLock lock(&mutex_);
  raised_ = true;
  final_ = final_ || signal == SIGTERM;
  const uint64_t one = 1;
  // fd() stays readable until Clear, so an interrupt is not lost between two calls of poll.
  [[maybe_unused]] const ssize_t written = write(event_fd_, &one, sizeof(one));
  if (guarded_ != nullptr) guarded_->Cancel();
}

bool Interrupt::raised() const {
  MutexLock lock(&mutex_);
  return raised_;
}

void Interrupt::Clear() {
  MutexLock lock(&mutex_);
  if (final_) return;
  raised_ = false;
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t drained = read(event_fd_, &count, sizeof(count));
}

InterruptGuard::InterruptGuard(Interrupt* interrupt) : interrupt_(interrupt) {
  MutexLock lock(&interrupt_->mutex_);
  if (interrupt_->raised_) cancellation_.Cancel();
  interrupt_->guarded_ = &cancellation_;
}

InterruptGuard::~InterruptGuard() {
  MutexLock lock(&interrupt_->mutex_);
  interrupt_->guarded_ = nullptr;
}

Terminal::Terminal(int in, int out, int err, Interrupt* interrupt)
    : in_(in), out_(out), err_(err), interrupt_(interrupt) {}

absl::Status Terminal::Write(absl::string_view text) {
  const int error = WriteAll(out_, interrupt_->fd(), text);
  if (error == 0) return absl::OkStatus();
  if (error == EINTR) return absl::CancelledError("interrupted");
  output_closed_ = output_closed_ || error == EPIPE;
  return absl::InternalError(absl::StrCat("writing to standard output: ", ErrnoText(error)));
}

void Terminal::WriteError(absl::string_view text) { WriteAll(err_, interrupt_->fd(), text); }

absl::StatusOr<std::optional<std::string>> Terminal::ReadLine() {
  while (true) {
    if (const size_t end = buffer_.find('\n'); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    ASSIGN_OR_RETURN(const bool more, Fill());
    if (!more) break;
  }
  if (buffer_.empty()) return std::nullopt;
  return std::exchange(buffer_, "");
}

absl::StatusOr<std::string> Terminal::ReadAll() {
  while (true) {
    ASSIGN_OR_RETURN(const bool more, Fill());
    if (!more) return std::exchange(buffer_, "");
  }
}

absl::StatusOr<std::optional<char>> Terminal::ReadKey(absl::Duration timeout) {
  // poll ignores a descriptor that is negative.
  pollfd fds[] = {{input_is_tty() ? in_ : -1, POLLIN, 0}, {interrupt_->fd(), POLLIN, 0}};
  const int64_t milliseconds = std::clamp<int64_t>(absl::ToInt64Milliseconds(timeout), 0, INT_MAX);
  if (poll(fds, 2, static_cast<int>(milliseconds)) < 0) {
    if (errno == EINTR) return std::nullopt;
    return absl::InternalError(absl::StrCat("poll: ", ErrnoText(errno)));
  }
  if (fds[1].revents != 0) return absl::CancelledError("interrupted");
  if (fds[0].revents == 0) return std::nullopt;
  char key;
  if (read(in_, &key, 1) == 1) return key;
  if (errno == EINTR || errno == EAGAIN) return std::nullopt;
  return '\x04';
}

void Terminal::SetKeyMode(bool set) {
  if (!set) {
    if (line_mode_.has_value()) tcsetattr(in_, TCSANOW, &*line_mode_);
    line_mode_.reset();
    return;
  }
  termios mode;
  if (tcgetattr(in_, &mode) != 0) return;
  line_mode_ = mode;
  // Ctrl-C stays a signal.
  mode.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  mode.c_cc[VMIN] = 1;
  mode.c_cc[VTIME] = 0;
  tcsetattr(in_, TCSANOW, &mode);
}

Terminal::Size Terminal::output_size() const {
  winsize size = {};
  if (ioctl(out_, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0) return {};
  return {.rows = size.ws_row, .columns = size.ws_col};
}

bool Terminal::input_is_tty() const { return isatty(in_) == 1; }

bool Terminal::output_is_tty() const { return isatty(out_) == 1; }

bool Terminal::error_is_tty() const { return isatty(err_) == 1; }

absl::StatusOr<bool> Terminal::Fill() {
  pollfd fds[] = {{in_, POLLIN, 0}, {interrupt_->fd(), POLLIN, 0}};
  while (poll(fds, 2, -1) < 0) {
    if (errno != EINTR) return absl::InternalError(absl::StrCat("poll: ", ErrnoText(errno)));
  }
  // An interrupt goes before input that is there at the same time.
  if (fds[1].revents != 0) return absl::CancelledError("interrupted");
  char bytes[kReadBytes];
  const ssize_t count = read(in_, bytes, sizeof(bytes));
  if (count > 0) {
    buffer_.append(bytes, static_cast<size_t>(count));
    return true;
  }
  if (count == 0) return false;
  if (errno == EINTR || errno == EAGAIN) return true;
  return absl::InternalError(absl::StrCat("reading standard input: ", ErrnoText(errno)));
}

}  // namespace phalanx
