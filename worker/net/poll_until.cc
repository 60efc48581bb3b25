#include "worker/net/poll_until.h"

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/errno_text.h"

namespace phalanx {

absl::StatusOr<bool> PollUntil(absl::Span<pollfd> fds, absl::Time deadline) {
  while (true) {
    timespec left{};
    if (deadline != absl::InfiniteFuture()) {
      left = absl::ToTimespec(std::max(deadline - MonotonicClock()->Now(), absl::ZeroDuration()));
    }
    const int ready = ppoll(fds.data(), fds.size(),
                            deadline == absl::InfiniteFuture() ? nullptr : &left, nullptr);
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) {
      return absl::InternalError(absl::StrCat("cannot poll: ", ErrnoText(errno)));
    }
    if (ready == 0 && MonotonicClock()->Now() >= deadline) return false;
  }
}

}  // namespace phalanx
