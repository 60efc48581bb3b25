#include "worker/group/rank_restarts.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace phalanx {

absl::StatusOr<absl::Duration> RankRestarts::Lost(absl::Time now) {
  ++total_;
  while (!recent_.empty() && recent_.front() <= now - options_.window) recent_.pop_front();
  recent_.push_back(now);
  const int before_ready = losses_before_ready_++;
  if (losses_before_ready_ >= options_.most_before_ready) {
    return absl::ResourceExhaustedError(absl::StrCat("the group was lost ", losses_before_ready_,
                                                     " times in a row before it was ready"));
  }
  if (static_cast<int>(recent_.size()) >= options_.most_in_window) {
    return absl::ResourceExhaustedError(absl::StrCat("the group was lost ", recent_.size(),
                                                     " times within ",
                                                     absl::FormatDuration(options_.window)));
  }
  if (before_ready == 0) return absl::ZeroDuration();
  return std::min(options_.first_delay * (int64_t{1} << std::min(before_ready - 1, 20)),
                  options_.longest_delay);
}

}  // namespace phalanx
