// Waiting for descriptors until a time of the monotonic clock.
#ifndef PHALANX_WORKER_NET_POLL_UNTIL_H_
#define PHALANX_WORKER_NET_POLL_UNTIL_H_

#include <poll.h>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace phalanx {

// Blocks until one of `fds` has an event (negative descriptors never have), and fills in their
// `revents`. False at `deadline`, a time of MonotonicClock(). INTERNAL if the system cannot wait.
absl::StatusOr<bool> PollUntil(absl::Span<pollfd> fds, absl::Time deadline);

}  // namespace phalanx

#endif  // PHALANX_WORKER_NET_POLL_UNTIL_H_
