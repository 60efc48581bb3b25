#include "tests/load/stream_timing.h"

#include "gtest/gtest.h"

namespace phalanx {
namespace {

// Seconds after a common zero.
StreamTiming Stream(double start, double first, double last, int num_tokens) {
  const absl::Time zero = absl::UnixEpoch();
  return {zero + absl::Seconds(start), zero + absl::Seconds(first), zero + absl::Seconds(last),
          num_tokens};
}

TEST(StreamTimingTest, SummarizesStreamsThatOverlap) {
  const RoundFigures figures =
      Summarize({Stream(0, 1, 3, 21), Stream(0, 2, 4, 41), Stream(1, 4, 5, 11)});
  EXPECT_DOUBLE_EQ(figures.tokens_per_second, 73 / 5.0);
  EXPECT_DOUBLE_EQ(figures.decode_tokens_per_second, 10.0 + 20.0 + 10.0);
  EXPECT_EQ(figures.median_first_token, absl::Seconds(2));
  EXPECT_EQ(figures.worst_first_token, absl::Seconds(3));
}

TEST(StreamTimingTest, AStreamOfOneTokenHasNoDecodeRate) {
  const RoundFigures figures = Summarize({Stream(0, 1, 1, 1)});
  EXPECT_EQ(figures.decode_tokens_per_second, 0);
  EXPECT_DOUBLE_EQ(figures.tokens_per_second, 1);
}

TEST(StreamTimingTest, MedianIsTheMiddle) {
  EXPECT_EQ(Median({3, 1, 2}), 2);
  EXPECT_EQ(Median({4, 1, 2, 3}), 2.5);
  EXPECT_EQ(Median({7}), 7);
}

TEST(StreamTimingTest, MedianRoundTakesEachFigureByItself) {
  RoundFigures slow = {1, 10, absl::Seconds(3), absl::Seconds(6)};
  RoundFigures middle = {2, 30, absl::Seconds(2), absl::Seconds(5)};
  RoundFigures fast = {3, 20, absl::Seconds(1), absl::Seconds(4)};
  const RoundFigures median = MedianRound({slow, middle, fast});
  EXPECT_EQ(median.tokens_per_second, 2);
  EXPECT_EQ(median.decode_tokens_per_second, 20);
  EXPECT_EQ(median.median_first_token, absl::Seconds(2));
  EXPECT_EQ(median.worst_first_token, absl::Seconds(5));
}

}  // namespace
}  // namespace phalanx
