#include "worker/engine/repetition_detector.h"

#include <algorithm>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

// After how many tokens the answer ends; 0 if it never does.
int EndsAfter(const RepetitionLimit& limit, const std::vector<int32_t>& tokens) {
  RepetitionDetector detector(limit);
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (detector.Add(tokens[i])) return static_cast<int>(i) + 1;
  }
  return 0;
}

// The definition, looked up in the whole answer.
int EndsAfterByDefinition(const RepetitionLimit& limit, const std::vector<int32_t>& tokens) {
  for (int end = 1; end <= static_cast<int>(tokens.size()); ++end) {
    for (int period = 1; period <= limit.max_period_tokens; ++period) {
      const int needed = std::max(period * limit.times, limit.min_tokens);
      bool repeats = needed <= end;
      for (int i = end - needed + period; repeats && i < end; ++i) {
        repeats = tokens[i] == tokens[i - period];
      }
      if (repeats) return end;
    }
  }
  return 0;
}

TEST(RepetitionDetectorTest, CopiesCountFromTheFirst) {
  const RepetitionLimit limit = {.times = 3, .max_period_tokens = 4, .min_tokens = 2};
  EXPECT_EQ(EndsAfter(limit, {1, 2, 3, 9, 8, 9, 8, 9, 8}), 9);
  EXPECT_EQ(EndsAfter(limit, {7, 7, 7}), 3);
  EXPECT_EQ(EndsAfter(limit, {7, 7, 1, 7, 7, 1, 7, 7}), 0);
}

TEST(RepetitionDetectorTest, ShortPeriodsMustBeLongEnoughTogether) {
  const RepetitionLimit limit = {.times = 2, .max_period_tokens = 8, .min_tokens = 6};
  EXPECT_EQ(EndsAfter(limit, {5, 5, 5, 5, 5, 5}), 6);
  EXPECT_EQ(EndsAfter(limit, {1, 2, 3, 1, 2, 3}), 6);
  EXPECT_EQ(EndsAfter(limit, {1, 2, 1, 2, 3}), 0);
}

TEST(RepetitionDetectorTest, LongerPeriodsThanTheLimitAreNotSeen) {
  const std::vector<int32_t> tokens = {1, 2, 3, 4, 5, 1, 2, 3, 4, 5};
  EXPECT_EQ(EndsAfter({.times = 2, .max_period_tokens = 4, .min_tokens = 2}, tokens), 0);
  EXPECT_EQ(EndsAfter({.times = 2, .max_period_tokens = 5, .min_tokens = 2}, tokens), 10);
}

TEST(RepetitionDetectorTest, IsTheDefinitionOnRandomAnswers) {
  std::mt19937 random(7);
  int found = 0;
  for (int round = 0; round < 3000; ++round) {
    const RepetitionLimit limit = {.times = 2 + static_cast<int32_t>(random() % 3),
                                   .max_period_tokens = 1 + static_cast<int32_t>(random() % 6),
                                   .min_tokens = 2 + static_cast<int32_t>(random() % 9)};
    std::vector<int32_t> tokens(40);
    for (int32_t& token : tokens) token = static_cast<int32_t>(random() % 2);
    const int expected = EndsAfterByDefinition(limit, tokens);
    ASSERT_EQ(EndsAfter(limit, tokens), expected) << "round " << round;
    found += expected > 0;
  }
  EXPECT_GT(found, 1000);
}

}  // namespace
}  // namespace phalanx
