#include "coordinator/routing/reconnect_backoff.h"

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
  // The time of a connection counts once.
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

}  // namespace
}  // namespace phalanx
