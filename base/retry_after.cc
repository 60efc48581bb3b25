#include "base/retry_after.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/types/optional.h"

namespace phalanx {
namespace {

constexpr absl::string_view kPayload = "retry_after";

}  // namespace

absl::Status WithRetryAfter(absl::Status status, absl::Duration retry_after) {
  status.SetPayload(kPayload, absl::Cord(absl::FormatDuration(retry_after)));
  return status;
}

std::optional<absl::Duration> RetryAfterOf(const absl::Status& status) {
  const absl::optional<absl::Cord> note = status.GetPayload(kPayload);
  absl::Duration retry_after;
  if (!note.has_value() || !absl::ParseDuration(std::string(*note), &retry_after)) {
    return std::nullopt;
  }
  return retry_after;
}

}  // namespace phalanx
