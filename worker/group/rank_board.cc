#include "worker/group/rank_board.h"

#include <algorithm>
#include <cstddef>

namespace phalanx {
namespace {

absl::Duration Mean(absl::Duration sum, uint64_t count) {
  return count == 0 ? absl::ZeroDuration() : sum / static_cast<double>(count);
}

}  // namespace

const char* RankPhaseName(RankPhase phase) {
  switch (phase) {
    case RankPhase::kMissing:
      return "missing";
    case RankPhase::kLoading:
      return "loading";
    case RankPhase::kReady:
      return "ready";
    case RankPhase::kLost:
      return "lost";
  }
  return "";
}

absl::Duration RankSkew(const std::vector<RankState>& ranks) {
  absl::Duration skew;
  for (const RankState& rank : ranks) skew = std::max(skew, rank.lag);
  return skew;
}

RankBoard::RankBoard(int world) : entries_(world) {}

void RankBoard::Joined(int rank, pid_t pid, absl::Time now) {
  MutexLock lock(&mutex_);
  entries_[rank] = Entry();
  entries_[rank].phase = RankPhase::kLoading;
  entries_[rank].pid = pid;
  entries_[rank].heard = now;
}

void RankBoard::Ready(int rank, const Facts& facts) {
  MutexLock lock(&mutex_);
  entries_[rank].phase = RankPhase::kReady;
  entries_[rank].facts = facts;
}

void RankBoard::Lost(int rank) {
  MutexLock lock(&mutex_);
  entries_[rank].phase = RankPhase::kLost;
}

void RankBoard::Heard(int rank, absl::Time now) {
  MutexLock lock(&mutex_);
  entries_[rank].heard = now;
}

void RankBoard::Worked(int rank, const RankLoad& load, int64_t resident_bytes, absl::Time now) {
  MutexLock lock(&mutex_);
  Entry& entry = entries_[rank];
  entry.resident_bytes = resident_bytes;
  // One that counts from zero again has begun anew.
  if (!entry.interval_start.has_value() || load.steps < entry.at_start.steps) {
    entry.interval_start = now;
    entry.at_start = load;
    return;
  }
  if (now - *entry.interval_start < kRankLoadInterval) return;
  // Without a step there is nothing new to tell.
  if (const RankLoad since = load - entry.at_start; since.steps > 0) entry.last = since;
  entry.interval_start = now;
  entry.at_start = load;
}

std::vector<RankState> RankBoard::Snapshot(absl::Time now) const {
  MutexLock lock(&mutex_);
  std::vector<RankState> states(entries_.size());
  absl::Duration most;
  for (size_t rank = 0; rank < entries_.size(); ++rank) {
    const Entry& entry = entries_[rank];
    const bool is_silent = rank == 0 || entry.phase == RankPhase::kMissing;
    states[rank] = {.rank = static_cast<int>(rank),
                    .phase = entry.phase,
                    .pid = entry.pid,
                    .host = entry.facts.host,
                    .heartbeat_age = is_silent ? absl::ZeroDuration() : now - entry.heard,
                    .step_time = Mean(entry.last.step_time, entry.last.steps),
                    .comm_time = Mean(entry.last.comm_time, entry.last.timed_steps),
                    .lag = absl::ZeroDuration(),
                    .weight_bytes = entry.facts.weight_bytes,
                    .kv_arena_bytes = entry.facts.kv_arena_bytes,
                    .resident_bytes = entry.resident_bytes};
    most = std::max(most, states[rank].comm_time);
  }
  for (size_t rank = 0; rank < states.size(); ++rank) {
    // Of a rank whose time is not known yet, nothing can be said.
    if (entries_[rank].last.timed_steps > 0) states[rank].lag = most - states[rank].comm_time;
  }
  return states;
}

}  // namespace phalanx
