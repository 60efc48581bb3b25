#include "base/clock.h"

#include "base/testing/fake_clock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

TEST(ClockTest, NeverGoesBackwards) {
  absl::Time last = MonotonicClock()->Now();
  for (int i = 0; i < 1000; ++i) {
    const absl::Time now = MonotonicClock()->Now();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(FakeClockTest, MovesOnlyWhenTold) {
  FakeClock clock;
  const absl::Time start = clock.Now();
  EXPECT_EQ(clock.Now(), start);
  clock.Advance(absl::Seconds(3));
  EXPECT_EQ(clock.Now(), start + absl::Seconds(3));
}

}  // namespace
}  // namespace phalanx
