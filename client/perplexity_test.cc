#include "client/perplexity.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

bool operator==(const ScoreWindow& a, const ScoreWindow& b) {
  return a.begin == b.begin && a.end == b.end && a.first_counted == b.first_counted;
}

MATCHER_P3(Window, begin, end, first_counted, "") {
  return arg == ScoreWindow{begin, end, first_counted};
}

TEST(PlanWindowsTest, AShortTextIsOneWindow) {
  EXPECT_THAT(PlanWindows(10, 10, 5), ElementsAre(Window(0, 10, 1)));
  EXPECT_THAT(PlanWindows(3, 10, 5), ElementsAre(Window(0, 3, 1)));
}

TEST(PlanWindowsTest, WindowsOverlapAndCountWhatIsNew) {
  EXPECT_THAT(PlanWindows(12, 6, 4),
              ElementsAre(Window(0, 6, 1), Window(4, 10, 6), Window(8, 12, 10)));
}

TEST(PlanWindowsTest, WithoutOverlapTheFirstOfEachIsLost) {
  EXPECT_THAT(PlanWindows(10, 4, 4),
              ElementsAre(Window(0, 4, 1), Window(4, 8, 5), Window(8, 10, 9)));
  // The last window would be of one token, and is left out.
  EXPECT_THAT(PlanWindows(9, 4, 4), ElementsAre(Window(0, 4, 1), Window(4, 8, 5)));
}

TEST(PlanWindowsTest, WhatFollowsNothingCannotBeScored) {
  EXPECT_THAT(PlanWindows(0, 4, 2), IsEmpty());
  EXPECT_THAT(PlanWindows(1, 4, 2), IsEmpty());
}

TEST(PlanWindowsTest, CountsEachTokenButTheFirstOnce) {
  for (int num_tokens = 2; num_tokens < 40; ++num_tokens) {
    for (int window = 2; window < 12; ++window) {
      for (int stride = 1; stride < window; ++stride) {
        int64_t next = 1;
        for (const ScoreWindow& w : PlanWindows(num_tokens, window, stride)) {
          EXPECT_EQ(w.first_counted, next);
          EXPECT_LE(w.end - w.begin, window);
          EXPECT_GT(w.first_counted, w.begin);
          next = w.end;
        }
        EXPECT_EQ(next, num_tokens);
      }
    }
  }
}

TEST(PerplexitySumTest, IsTheExponentialOfTheMean) {
  PerplexitySum sum;
  sum.Add({std::log(0.5f), std::log(0.25f)});
  sum.Add({std::log(0.125f)});
  EXPECT_EQ(sum.num_tokens(), 3);
  EXPECT_NEAR(sum.nats_per_token(), 2 * std::log(2.0), 1e-6);
  EXPECT_NEAR(sum.perplexity(), 4.0, 1e-5);
}

}  // namespace
}  // namespace phalanx
