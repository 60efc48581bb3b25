// When a caller may try again, noted in the status that refuses him.
#ifndef PHALANX_BASE_RETRY_AFTER_H_
#define PHALANX_BASE_RETRY_AFTER_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace phalanx {

// `status`, which is not OK, with the note. Other notes in it stay. The note is for this process:
// nothing of it is sent.
absl::Status WithRetryAfter(absl::Status status, absl::Duration retry_after);

// What was noted, if anything.
std::optional<absl::Duration> RetryAfterOf(const absl::Status& status);

}  // namespace phalanx

#endif  // PHALANX_BASE_RETRY_AFTER_H_
