// How soon a rank that was lost is started again, and when there is no use in that.
#ifndef PHALANX_WORKER_GROUP_RANK_RESTARTS_H_
#define PHALANX_WORKER_GROUP_RANK_RESTARTS_H_

#include <deque>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace phalanx {

// Of the ranks of one group together, since they are lost together. Thread-compatible; has no clock
// of its own.
class RankRestarts {
 public:
  struct Options {
    // So many losses in a row, without the group having been ready in between, are the last.
    int most_before_ready = 5;
    // So many losses within `window` are the last too.
    int most_in_window = 20;
    absl::Duration window = absl::Minutes(10);
    // How long to wait after a group that never became ready: at first, doubled each time.
    absl::Duration first_delay = absl::Milliseconds(100);
    absl::Duration longest_delay = absl::Seconds(5);
  };

  explicit RankRestarts(const Options& options) : options_(options) {}

  // Tells of a loss at `now`, which does not go back. Returns how long to wait before the group
  // forms again: nothing if it had been ready. RESOURCE_EXHAUSTED if it is not to form again.
  absl::StatusOr<absl::Duration> Lost(absl::Time now);
  // The group has been ready since the latest loss.
  void Ready() { losses_before_ready_ = 0; }

  // Losses so far.
  int total() const { return total_; }

 private:
  const Options options_;
  int total_ = 0;
  int losses_before_ready_ = 0;
  std::deque<absl::Time> recent_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_RANK_RESTARTS_H_
