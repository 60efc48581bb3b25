#include "coordinator/text/renderer/wire.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "base/clock.h"

namespace phalanx {
namespace {

// Waits until `event` comes or `deadline` passes. Returns false once there is no time left. After
// true the caller just tries again, whether the event came or a signal woke poll.
bool WaitFor(int fd, short event, absl::Time deadline) {
  int wait_ms = -1;
  if (deadline != absl::InfiniteFuture()) {
    const absl::Duration left = deadline - MonotonicClock()->Now();
    if (left <= absl::ZeroDuration()) return false;
    // Rounded up: with 0 the caller would spin through the last millisecond.
    wait_ms = static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(left) + 1, INT_MAX));
  }
  pollfd poll_fd = {fd, event, 0};
  poll(&poll_fd, 1, wait_ms);
  return true;
}

bool IsTransient(ssize_t result) {
  return result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

}  // namespace

WireResult SendBytes(int fd, absl::string_view bytes, absl::Time deadline) {
  while (!bytes.empty()) {
    // MSG_NOSIGNAL: a process that has died must not end this one by SIGPIPE.
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
    } else if (!IsTransient(sent)) {
      return WireResult::kClosed;
    } else if (!WaitFor(fd, POLLOUT, deadline)) {
      return WireResult::kTimedOut;
    }
  }
  return WireResult::kDone;
}

WireResult ReceiveBytes(int fd, char* bytes, size_t size, absl::Time deadline) {
  while (size > 0) {
    // At the end of the stream recv returns 0, which counts as closed, as errors do.
    const ssize_t received = recv(fd, bytes, size, MSG_DONTWAIT);
    if (received > 0) {
      bytes += received;
      size -= static_cast<size_t>(received);
    } else if (!IsTransient(received)) {
      return WireResult::kClosed;
    } else if (!WaitFor(fd, POLLIN, deadline)) {
      return WireResult::kTimedOut;
    }
  }
  return WireResult::kDone;
}

}  // namespace phalanx
