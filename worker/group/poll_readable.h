// Waiting for the first of several descriptors.
#ifndef PHALANX_WORKER_GROUP_POLL_READABLE_H_
#define PHALANX_WORKER_GROUP_POLL_READABLE_H_

#include <cstddef>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace phalanx {

// Blocks until one of `fds` can be read or has hung up, and returns the index of the first such.
// Negative ones are never readable. DEADLINE_EXCEEDED if there is none by `deadline`, a time of
// MonotonicClock(); INTERNAL if the system cannot wait for them.
absl::StatusOr<size_t> PollReadable(absl::Span<const int> fds, absl::Time deadline);

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_POLL_READABLE_H_
