#include "worker/group/poll_readable.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/errno_text.h"

namespace phalanx {
namespace {

int MillisecondsUntil(absl::Time deadline) {
  if (deadline == absl::InfiniteFuture()) return -1;
  // Rounded up: with the last millisecond cut off, poll would be called with 0 again and again.
  const int64_t left_ms = absl::ToInt64Milliseconds(deadline - MonotonicClock()->Now()) + 1;
  return static_cast<int>(std::clamp<int64_t>(left_ms, 0, INT_MAX));
}

}  // namespace

absl::StatusOr<size_t> PollReadable(absl::Span<const int> fds, absl::Time deadline) {
  absl::InlinedVector<pollfd, 8> polled;
  for (const int fd : fds) polled.push_back({fd, POLLIN, 0});
  while (true) {
    const int ready = poll(polled.data(), polled.size(), MillisecondsUntil(deadline));
    if (ready > 0) break;
    if (ready < 0 && errno != EINTR) {
      return absl::InternalError(absl::StrCat("cannot poll: ", ErrnoText(errno)));
    }
    if (MonotonicClock()->Now() >= deadline)
      return absl::DeadlineExceededError("nothing came in time");
  }
  // Any event will do: a descriptor that has hung up or has an error can be read, to find that out.
  const auto first = std::find_if(polled.begin(), polled.end(),
                                  [](const pollfd& polled_fd) { return polled_fd.revents != 0; });
  return first - polled.begin();
}

}  // namespace phalanx
