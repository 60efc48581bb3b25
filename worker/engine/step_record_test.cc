#include "worker/engine/step_record.h"

#include "gtest/gtest.h"

namespace phalanx {
namespace {

const absl::Time kStart = absl::UnixEpoch() + absl::Hours(5);

TEST(StepRecordTest, NothingHasARateOfZero) {
  const StepRecord record;
  EXPECT_EQ(record.ended(), 0);
  EXPECT_EQ(record.RatesAt(kStart).computed_tokens_per_second, 0);
}

TEST(StepRecordTest, TheFirstStepIsAveragedOverItsOwnTime) {
  StepRecord record;
  record.Add({.time = absl::Milliseconds(500), .tokens = 100, .seqs = 3, .generated = 2}, kStart);
  EXPECT_EQ(record.last().seqs, 3);
  EXPECT_DOUBLE_EQ(record.RatesAt(kStart).computed_tokens_per_second, 200);
  EXPECT_DOUBLE_EQ(record.RatesAt(kStart).generated_tokens_per_second, 4);
}

TEST(StepRecordTest, ASteadyRateIsToldAsItIs) {
  StepRecord record;
  absl::Time now = kStart;
  for (int i = 0; i < 1000; ++i) {
    now += absl::Milliseconds(100);
    record.Add({.time = absl::Milliseconds(100), .tokens = 30, .seqs = 8, .generated = 8}, now);
  }
  EXPECT_EQ(record.ended(), 1000);
  // The oldest second that counts is whole, so only the last step may be one second too early.
  EXPECT_NEAR(record.RatesAt(now).computed_tokens_per_second, 300, 300.0 / 90);
  EXPECT_NEAR(record.RatesAt(now).generated_tokens_per_second, 80, 80.0 / 90);
}

TEST(StepRecordTest, WhatIsTenSecondsOldNoLongerCounts) {
  StepRecord record;
  record.Add({.time = absl::Seconds(1), .tokens = 700, .seqs = 1, .generated = 0}, kStart);
  EXPECT_DOUBLE_EQ(record.RatesAt(kStart + absl::Seconds(6)).computed_tokens_per_second, 100);
  EXPECT_EQ(record.RatesAt(kStart + absl::Seconds(10)).computed_tokens_per_second, 0);
  // The place of that second in the ring is taken by a later one.
  record.Add({.time = absl::Seconds(1), .tokens = 5, .seqs = 1, .generated = 0},
             kStart + absl::Seconds(10));
  EXPECT_LT(record.RatesAt(kStart + absl::Seconds(10)).computed_tokens_per_second, 1);
  EXPECT_EQ(record.last().tokens, 5);
}

}  // namespace
}  // namespace phalanx
