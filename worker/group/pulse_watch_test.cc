#include "worker/group/pulse_watch.h"

#include <string>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(5);
// The turns in which a timeout passes.
constexpr int kTurns = 10;

class PulseWatchTest : public testing::Test {
 protected:
  PulseWatchTest() {
    watch_.Joined(1);
    watch_.Joined(2);
  }

  // Turns in which only the ranks of `alive` are heard of, at `progress`; the first error.
  absl::Status Turns(int count, std::optional<RunningStep> step, std::vector<int> alive = {1, 2}) {
    for (int i = 0; i < count; ++i) {
      for (const int rank : alive) watch_.Heard(rank);
      if (absl::Status status = watch_.Turn(step); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  PulseWatch watch_{3, kTimeout};
};

TEST_F(PulseWatchTest, TurnsAreATenthOfTheTimeoutAndNeverLong) {
  EXPECT_EQ(watch_.interval(), absl::Milliseconds(500));
  EXPECT_EQ(PulseWatch(1, absl::Seconds(1)).interval(), absl::Milliseconds(100));
  EXPECT_EQ(PulseWatch(1, absl::Hours(1)).interval(), absl::Milliseconds(500));
  EXPECT_EQ(PulseWatch(1, absl::InfiniteDuration()).interval(), absl::Milliseconds(500));
}

TEST_F(PulseWatchTest, ASilentRankIsNamedAfterTheTimeoutWithOrWithoutAStep) {
  EXPECT_TRUE(Turns(kTurns, std::nullopt, {1}).ok());
  EXPECT_EQ(watch_.silence(), kTimeout);
  const absl::Status status = Turns(1, RunningStep{17, 3}, {1});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "rank 2 has not answered for 5s, step 17 (3 tokens) runs");
  EXPECT_EQ(watch_.rank_to_blame(), 2);

  PulseWatch idle(2, kTimeout);
  idle.Joined(1);
  absl::Status idle_status;
  for (int i = 0; i <= kTurns && idle_status.ok(); ++i) idle_status = idle.Turn(std::nullopt);
  EXPECT_EQ(idle_status.message(), "rank 1 has not answered for 5s, no step runs");
}

TEST_F(PulseWatchTest, WhoHasNotJoinedIsNotMissed) {
  PulseWatch watch(2, kTimeout);
  for (int i = 0; i < 3 * kTurns; ++i) EXPECT_TRUE(watch.Turn(std::nullopt).ok());
}

TEST_F(PulseWatchTest, ALongStepThatGoesOnIsNoFault) {
  for (int i = 0; i < 100; ++i) {
    watch_.Progressed(i % 3, 1 + i);
    ASSERT_TRUE(Turns(kTurns - 1, RunningStep{1, 3}).ok()) << i;
  }
}

TEST_F(PulseWatchTest, OfThoseThatComeNoFurtherTheLastIsNamed) {
  watch_.Progressed(0, 8);
  watch_.Progressed(1, 7);
  watch_.Progressed(2, 8);
  const absl::Status status = Turns(kTurns + 3, RunningStep{9, 3});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "rank 1 has come no further for 5s in step 9 (3 tokens)");
  EXPECT_EQ(watch_.rank_to_blame(), 1);
}

TEST_F(PulseWatchTest, StepsThatWereSlowBeforeMayBeSlowAgain) {
  ASSERT_TRUE(Turns(1, RunningStep{1, 3}).ok());
  ASSERT_TRUE(Turns(kTurns, RunningStep{1, 3}).ok());
  watch_.Progressed(1, 1);
  ASSERT_TRUE(Turns(1, RunningStep{1, 3}).ok());
  EXPECT_TRUE(Turns(4 * kTurns, RunningStep{1, 3}).ok());
  const absl::Status status = Turns(1, RunningStep{1, 3});
  EXPECT_NE(status.message().find("has come no further for 20s in step 1"), absl::string_view::npos)
      << status;
}

TEST_F(PulseWatchTest, ALongStandThatNeverEndedExcusesNothing) {
  PulseWatch watch(2, kTimeout);
  watch.Joined(1);
  absl::Status status;
  int turns = 0;
  for (; turns < 3 * kTurns && status.ok(); ++turns) {
    watch.Heard(1);
    status = watch.Turn(RunningStep{1, 1});
  }
  EXPECT_EQ(turns, kTurns + 2);
}

TEST_F(PulseWatchTest, TheOwnerMayBeTheOneThatHangs) {
  PulseWatch alone(1, kTimeout);
  absl::Status status;
  for (int i = 0; i < kTurns + 3 && status.ok(); ++i) status = alone.Turn(RunningStep{1, 1});
  EXPECT_EQ(status.message(), "rank 0 has come no further for 5s in step 1 (1 tokens)");
}

TEST_F(PulseWatchTest, TimeWithoutAStepAndQuickStepsAreNoFault) {
  EXPECT_TRUE(Turns(3 * kTurns, std::nullopt).ok());
  for (uint64_t step = 1; step < 100; ++step) ASSERT_TRUE(Turns(1, RunningStep{step, 3}).ok());
}

TEST_F(PulseWatchTest, AStepOfManyTokensMayTakeLongerBetweenItsMarks) {
  EXPECT_TRUE(Turns(4 * kTurns, RunningStep{1, 256}).ok());
  const absl::Status status = Turns(3, RunningStep{1, 256});
  EXPECT_EQ(status.message(), "rank 0 has come no further for 20s in step 1 (256 tokens)");
}

TEST_F(PulseWatchTest, AnInfiniteTimeoutNeverPasses) {
  PulseWatch watch(2, absl::InfiniteDuration());
  watch.Joined(1);
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(watch.Turn(RunningStep{1, 1}).ok());
}

}  // namespace
}  // namespace phalanx
