#include "worker/group/rank_board.h"

#include <vector>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

constexpr absl::Duration kMs = absl::Milliseconds(1);

// A load of `steps` steps of `step` each, `comm` of it in collectives.
RankLoad Load(uint64_t steps, absl::Duration step, absl::Duration comm) {
  return {
      .steps = steps, .step_time = step * steps, .timed_steps = steps, .comm_time = comm * steps};
}

class RankBoardTest : public testing::Test {
 protected:
  RankState Rank(int rank) { return board_.Snapshot(now_)[rank]; }

  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
  RankBoard board_{3};
};

TEST_F(RankBoardTest, RanksGoThroughTheirPhases) {
  EXPECT_EQ(Rank(1).phase, RankPhase::kMissing);
  EXPECT_EQ(Rank(1).heartbeat_age, absl::ZeroDuration());
  board_.Joined(1, 17, now_);
  EXPECT_EQ(Rank(1).phase, RankPhase::kLoading);
  EXPECT_EQ(Rank(1).pid, 17);
  board_.Ready(1, {.host = "there", .weight_bytes = 5, .kv_arena_bytes = 7});
  EXPECT_EQ(Rank(1).phase, RankPhase::kReady);
  EXPECT_EQ(Rank(1).host, "there");
  EXPECT_EQ(Rank(1).weight_bytes, 5);
  EXPECT_EQ(Rank(1).kv_arena_bytes, 7);
  board_.Lost(1);
  EXPECT_EQ(Rank(1).phase, RankPhase::kLost);
  EXPECT_EQ(Rank(2).phase, RankPhase::kMissing);
}

TEST_F(RankBoardTest, AHeartbeatAges) {
  board_.Joined(1, 17, now_);
  now_ += 40 * kMs;
  EXPECT_EQ(Rank(1).heartbeat_age, 40 * kMs);
  board_.Heard(1, now_);
  EXPECT_EQ(Rank(1).heartbeat_age, absl::ZeroDuration());
  now_ += 5 * kMs;
  EXPECT_EQ(Rank(1).heartbeat_age, 5 * kMs);
}

TEST_F(RankBoardTest, TheLeaderDoesNotHearOfItself) {
  board_.Joined(0, 17, now_);
  now_ += absl::Hours(1);
  EXPECT_EQ(Rank(0).heartbeat_age, absl::ZeroDuration());
}

TEST_F(RankBoardTest, StepTimesAreMeansOverTheLastSecondWithSteps) {
  board_.Worked(1, Load(10, 100 * kMs, 50 * kMs), 1, now_);
  EXPECT_EQ(Rank(1).step_time, absl::ZeroDuration());
  now_ += 990 * kMs;
  RankLoad load = Load(10, 100 * kMs, 50 * kMs);
  load += Load(5, 2 * kMs, 1 * kMs);
  board_.Worked(1, load, 2, now_);
  EXPECT_EQ(Rank(1).step_time, absl::ZeroDuration()) << "the second is not over";
  EXPECT_EQ(Rank(1).resident_bytes, 2);
  now_ += 10 * kMs;
  load += Load(5, 4 * kMs, 1 * kMs);
  board_.Worked(1, load, 3, now_);
  EXPECT_EQ(Rank(1).step_time, 3 * kMs);
  EXPECT_EQ(Rank(1).comm_time, 1 * kMs);
  now_ += absl::Seconds(2);
  board_.Worked(1, load, 3, now_);
  EXPECT_EQ(Rank(1).step_time, 3 * kMs) << "no step since then";
  now_ += absl::Seconds(1);
  load += Load(1, 7 * kMs, 0 * kMs);
  board_.Worked(1, load, 3, now_);
  EXPECT_EQ(Rank(1).step_time, 7 * kMs);
}

TEST_F(RankBoardTest, TheRankThatWaitsLeastIsWaitedFor) {
  const absl::Duration comm[] = {1 * kMs, 5 * kMs, 4 * kMs};
  for (int rank = 0; rank < 3; ++rank) board_.Worked(rank, {}, 0, now_);
  now_ += kRankLoadInterval;
  for (int rank = 0; rank < 3; ++rank) {
    board_.Worked(rank, Load(100, 9 * kMs, comm[rank]), 0, now_);
  }
  EXPECT_EQ(Rank(0).lag, 4 * kMs);
  EXPECT_EQ(Rank(1).lag, absl::ZeroDuration());
  EXPECT_EQ(Rank(2).lag, 1 * kMs);
  EXPECT_EQ(RankSkew(board_.Snapshot(now_)), 4 * kMs);
}

TEST_F(RankBoardTest, ARankWhoseCollectivesAreNotTimedIsNotBlamed) {
  for (int rank = 0; rank < 2; ++rank) board_.Worked(rank, {}, 0, now_);
  now_ += kRankLoadInterval;
  board_.Worked(0, {.steps = 10, .step_time = 10 * kMs}, 0, now_);
  board_.Worked(1, Load(10, 2 * kMs, 1 * kMs), 0, now_);
  EXPECT_EQ(RankSkew(board_.Snapshot(now_)), absl::ZeroDuration());
  // Of the steps, two were timed.
  now_ += kRankLoadInterval;
  board_.Worked(0, {.steps = 74, .step_time = absl::Seconds(1), .timed_steps = 2, .comm_time = kMs},
                0, now_);
  EXPECT_EQ(Rank(0).comm_time, kMs / 2);
}

TEST_F(RankBoardTest, ACountThatBeginsAnewIsNoNegativeLoad) {
  board_.Worked(1, {}, 0, now_);
  now_ += kRankLoadInterval;
  board_.Worked(1, Load(100, 9 * kMs, kMs), 0, now_);
  now_ += kRankLoadInterval;
  board_.Worked(1, Load(3, kMs, kMs), 0, now_);
  EXPECT_EQ(Rank(1).step_time, 9 * kMs) << "what was known before";
  now_ += kRankLoadInterval;
  RankLoad load = Load(3, kMs, kMs);
  load += Load(2, 5 * kMs, kMs);
  board_.Worked(1, load, 0, now_);
  EXPECT_EQ(Rank(1).step_time, 5 * kMs);
}

TEST_F(RankBoardTest, WhatJoinsAgainBeginsAnew) {
  board_.Joined(1, 1, now_);
  board_.Ready(1, {.weight_bytes = 5, .kv_arena_bytes = 7});
  board_.Worked(1, {}, 9, now_);
  now_ += kRankLoadInterval;
  board_.Worked(1, Load(1, kMs, kMs), 9, now_);
  board_.Joined(1, 2, now_);
  EXPECT_EQ(Rank(1).pid, 2);
  EXPECT_EQ(Rank(1).weight_bytes, 0);
  EXPECT_EQ(Rank(1).step_time, absl::ZeroDuration());
  // A new process counts from zero, which is no negative load.
  board_.Worked(1, Load(1, kMs, kMs), 9, now_);
  EXPECT_EQ(Rank(1).step_time, absl::ZeroDuration());
}

}  // namespace
}  // namespace phalanx
