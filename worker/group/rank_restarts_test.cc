#include "worker/group/rank_restarts.h"

#include "gtest/gtest.h"

namespace phalanx {
namespace {

class RankRestartsTest : public testing::Test {
 protected:
  // A loss, a second after the one before.
  absl::StatusOr<absl::Duration> Lost() { return restarts_.Lost(now_ += absl::Seconds(1)); }

  absl::Time now_ = absl::UnixEpoch();
  RankRestarts restarts_{{.most_before_ready = 5,
                          .most_in_window = 8,
                          .window = absl::Minutes(1),
                          .first_delay = absl::Milliseconds(100),
                          .longest_delay = absl::Milliseconds(300)}};
};

TEST_F(RankRestartsTest, AGroupThatWasReadyFormsAgainAtOnce) {
  restarts_.Ready();
  EXPECT_EQ(*Lost(), absl::ZeroDuration());
  restarts_.Ready();
  EXPECT_EQ(*Lost(), absl::ZeroDuration());
  EXPECT_EQ(restarts_.total(), 2);
}

TEST_F(RankRestartsTest, OneThatIsNeverReadyWaitsLongerAndLongerAndGivesUp) {
  EXPECT_EQ(*Lost(), absl::ZeroDuration());
  EXPECT_EQ(*Lost(), absl::Milliseconds(100));
  EXPECT_EQ(*Lost(), absl::Milliseconds(200));
  EXPECT_EQ(*Lost(), absl::Milliseconds(300));
  EXPECT_EQ(Lost().status().message(), "the group was lost 5 times in a row before it was ready");
}

TEST_F(RankRestartsTest, BeingReadyBeginsTheRowAnew) {
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(Lost().ok());
  restarts_.Ready();
  EXPECT_EQ(*Lost(), absl::ZeroDuration());
}

TEST_F(RankRestartsTest, TooManyLossesInTheWindowAreTheLast) {
  for (int i = 0; i < 7; ++i) {
    EXPECT_TRUE(Lost().ok()) << i;
    restarts_.Ready();
  }
  EXPECT_EQ(Lost().status().message(), "the group was lost 8 times within 1m");
}

TEST_F(RankRestartsTest, LossesOfLongAgoDoNotCount) {
  for (int i = 0; i < 100; ++i) {
    now_ += absl::Seconds(8);
    EXPECT_TRUE(Lost().ok()) << i;
    restarts_.Ready();
  }
}

}  // namespace
}  // namespace phalanx
