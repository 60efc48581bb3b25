#include "coordinator/routing/reconnect_backoff.h"

#include <algorithm>
#include <cstdint>

#include "base/testing/fake_clock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

ReconnectBackoff::Options WithoutJitter() {
  return {.initial = absl::Seconds(1), .max = absl::Seconds(5), .jitter = 0.0};
}

TEST(ReconnectBackoffTest, DoublesUpToTheLimit) {
  FakeClock clock;
  ReconnectBackoff backoff(WithoutJitter(), &clock);
  EXPECT_EQ(backoff.OnEnded(), absl::Seconds(1));
  EXPECT_EQ(backoff.OnEnded(), absl::Seconds(2));
  EXPECT_EQ(backoff.OnEnded(), absl::Seconds(4));
  EXPECT_EQ(backoff.OnEnded(), absl::Seconds(5));
  EXPECT_EQ(backoff.OnEnded(), absl::Seconds(5));
}

TEST(ReconnectBackoffTest, StartsAnewAfterAConnectionThatHeld) {
  FakeClock clock;
  ReconnectBackoff backoff(WithoutJitter(), &clock);
  backoff.OnEnded();
  backoff.OnEnded();
  backoff.OnConnected();
  clock.Advance(absl::Seconds(5));
  EXPECT_EQ(backoff.OnEnded(), absl::Seconds(1));
}

TEST(ReconnectBackoffTest, GoesOnAfterAConnectionThatBrokeAtOnce) {
  FakeClock clock;
  ReconnectBackoff backoff(WithoutJitter(), &clock);
  backoff.OnEnded();
  backoff.OnConnected();
  clock.Advance(absl::Seconds(4));
  EXPECT_EQ(backoff.OnEnded(), absl::Seconds(2));
  // The duration of a connection counts only once.
  clock.Advance(absl::Hours(1));
  EXPECT_EQ(backoff.OnEnded(), absl::Seconds(4));
}

TEST(ReconnectBackoffTest, JitterStaysInItsBounds) {
  FakeClock clock;
  ReconnectBackoff backoff(
      {.initial = absl::Seconds(1), .max = absl::Seconds(1), .jitter = 0.25, .seed = 7}, &clock);
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const absl::Duration delay = backoff.OnEnded();
    EXPECT_GE(delay, absl::Milliseconds(750));
    EXPECT_LE(delay, absl::Milliseconds(1250));
    differs |= delay != absl::Seconds(1);
  }
  EXPECT_TRUE(differs);
}

// Coordinators that lost a group at the same moment come back a fifth of the delay apart.
TEST(ReconnectBackoffTest, SpreadsReturnsWithoutBeingAsked) {
  FakeClock clock;
  const absl::Duration initial = ReconnectBackoff::Options().initial;
  absl::Duration least = absl::InfiniteDuration(), most = absl::ZeroDuration();
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    const absl::Duration delay = ReconnectBackoff({.seed = seed}, &clock).OnEnded();
    least = std::min(least, delay);
    most = std::max(most, delay);
  }
  EXPECT_GE(least, 0.8 * initial);
  EXPECT_LE(least, 0.85 * initial);
  EXPECT_GE(most, 1.15 * initial);
  EXPECT_LE(most, 1.2 * initial);
}

}  // namespace
}  // namespace phalanx
