#include "worker/engine/step_speed.h"

#include "gtest/gtest.h"

namespace phalanx {
namespace {

void NoteSteps(StepSpeed& speed, int steps, int tokens, absl::Duration time) {
  for (int i = 0; i < steps; ++i) speed.Note(tokens, time);
}

TEST(StepSpeedTest, KnowsNothingBeforeEnoughStepsWereMeasured) {
  StepSpeed speed(100);
  NoteSteps(speed, StepSpeed::kMinSteps - 1, 100, absl::Milliseconds(10));
  EXPECT_FALSE(speed.TokensPerSecond().has_value());
  EXPECT_FALSE(speed.TimeFor(1).has_value());
  speed.Note(100, absl::Milliseconds(10));
  EXPECT_NEAR(speed.TokensPerSecond().value(), 10'000, 1e-6);
  EXPECT_EQ(speed.TimeFor(5000), absl::Milliseconds(500));
}

TEST(StepSpeedTest, StepsThatAreNotHalfFullDoNotCount) {
  StepSpeed speed(100);
  NoteSteps(speed, 100, 49, absl::Seconds(1));
  EXPECT_FALSE(speed.TokensPerSecond().has_value());
  NoteSteps(speed, 8, 50, absl::Milliseconds(10));
  NoteSteps(speed, 100, 1, absl::Seconds(1));
  EXPECT_NEAR(speed.TokensPerSecond().value(), 5000, 1e-6);
}

TEST(StepSpeedTest, FollowsAChangeWithItsHalfLife) {
  StepSpeed speed(100);
  NoteSteps(speed, 10'000, 100, absl::Milliseconds(10));
  NoteSteps(speed, 500, 100, absl::Milliseconds(20));
  // After ten seconds of slow steps the fast ones weigh half: 10 s at 10,000 tokens per second (the
  // sum of all weights) halved, next to 10 s at 5,000.
  const double speed_now = speed.TokensPerSecond().value();
  EXPECT_GT(speed_now, 6'000);
  EXPECT_LT(speed_now, 8'500);
  NoteSteps(speed, 5'000, 100, absl::Milliseconds(20));
  EXPECT_NEAR(speed.TokensPerSecond().value(), 5'000, 50);
}

TEST(StepSpeedTest, AStepThatTookNoTimeIsNoMeasurement) {
  StepSpeed speed(100);
  NoteSteps(speed, 100, 100, absl::ZeroDuration());
  EXPECT_FALSE(speed.TokensPerSecond().has_value());
}

}  // namespace
}  // namespace phalanx
