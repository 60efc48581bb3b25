// What the leader of a group knows of its ranks, for people and metrics.
#ifndef PHALANX_WORKER_GROUP_RANK_BOARD_H_
#define PHALANX_WORKER_GROUP_RANK_BOARD_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/mutex.h"
#include "worker/group/rank_load.h"

namespace phalanx {

enum class RankPhase {
  kMissing,  // Has not joined.
  kLoading,  // Has joined.
  kReady,    // Runs steps.
  kLost,     // Ended, or does not answer.
};

// "missing", "loading", "ready" or "lost".
const char* RankPhaseName(RankPhase phase);

// One rank at one moment.
struct RankState {
  int rank = 0;
  RankPhase phase = RankPhase::kMissing;
  pid_t pid = 0;
  std::string host;
  // Time since it was last heard of; zero for the leader itself and for ranks that are missing.
  absl::Duration heartbeat_age = absl::ZeroDuration();
  // Means over the steps of the last interval with steps, of at least kRankLoadInterval.
  absl::Duration step_time = absl::ZeroDuration();
  absl::Duration comm_time = absl::ZeroDuration();
  // How much less time a step of this rank spends in collectives than one of the rank that spends
  // most: by that much the others wait for it.
  absl::Duration lag = absl::ZeroDuration();
  int64_t weight_bytes = 0;
  int64_t kv_arena_bytes = 0;
  // Memory of the process.
  int64_t resident_bytes = 0;
};

inline constexpr absl::Duration kRankLoadInterval = absl::Seconds(1);

// The longest lag: how much later, over a step, the last rank comes to the collectives than the
// first. Ranks leave a collective together, so the rank that comes last spends the least time in
// it. A step has many; where ranks take turns in being late, this tells the difference of their
// sums, which is less than what they waited. Zero for a rank alone.
absl::Duration RankSkew(const std::vector<RankState>& ranks);

// Thread-safe.
class RankBoard {
 public:
  // What a rank says when it has loaded.
  struct Facts {
    std::string host = "";
    int64_t weight_bytes = 0;
    int64_t kv_arena_bytes = 0;
  };

  // For a group of `world` ranks, all of which are missing.
  explicit RankBoard(int world);
  RankBoard(const RankBoard&) = delete;
  RankBoard& operator=(const RankBoard&) = delete;

  // A process has joined as `rank`; what was known of an earlier one is forgotten.
  void Joined(int rank, pid_t pid, absl::Time now);
  void Ready(int rank, const Facts& facts);
  void Lost(int rank);
  // A message of any kind came from the rank.
  void Heard(int rank, absl::Time now);
  // Its load, by its own count, which may begin anew, and the memory of its process.
  void Worked(int rank, const RankLoad& load, int64_t resident_bytes, absl::Time now);

  // All ranks, in order.
  std::vector<RankState> Snapshot(absl::Time now) const;

 private:
  struct Entry {
    RankPhase phase = RankPhase::kMissing;
    pid_t pid = 0;
    Facts facts;
    int64_t resident_bytes = 0;
    absl::Time heard;
    // Where the interval that runs began, and the sums of the one before.
    std::optional<absl::Time> interval_start;
    RankLoad at_start;
    RankLoad last;
  };

  mutable Mutex mutex_;
  std::vector<Entry> entries_ GUARDED_BY(mutex_);
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_RANK_BOARD_H_
