#include "client/load_plan.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::Ge;
using ::testing::Lt;
using ::testing::SizeIs;

TEST(LengthRangeTest, ReadsANumberOrTwo) {
  LengthRange range;
  EXPECT_TRUE(ParseLengthRange("128", &range));
  EXPECT_EQ(range, (LengthRange{128, 128}));
  EXPECT_EQ(LengthRangeText(range), "128");
  EXPECT_TRUE(ParseLengthRange("64-256", &range));
  EXPECT_EQ(range, (LengthRange{64, 256}));
  EXPECT_EQ(LengthRangeText(range), "64-256");
}

TEST(LengthRangeTest, RefusesEverythingElse) {
  for (const char* text :
       {"", "-", "0", "-5", "0-3", "5-4", "1-2-3", "x", "7-", "-7", "99999999"}) {
    LengthRange range = {3, 4};
    EXPECT_FALSE(ParseLengthRange(text, &range)) << text;
    EXPECT_EQ(range, (LengthRange{3, 4}));
  }
}

TEST(PlanLoadTest, LengthsAndTokensAreWithinTheirRanges) {
  const std::vector<PlannedRequest> plan = PlanLoad(
      {.requests = 200, .warmup = 3, .prompt_tokens = {5, 7}, .output_tokens = {2, 3}}, 10);
  ASSERT_THAT(plan, SizeIs(203));
  std::vector<int> prompts(8), outputs(4);
  for (const PlannedRequest& request : plan) {
    EXPECT_THAT(request.prompt_token_ids, Each(AllOf(Ge(0), Lt(10))));
    ++prompts.at(request.prompt_token_ids.size());
    ++outputs.at(static_cast<size_t>(request.max_new_tokens));
    EXPECT_EQ(request.due, absl::ZeroDuration());
  }
  // Each length comes about equally often: at least half as often as on average.
  for (const int length : {5, 6, 7}) EXPECT_GE(prompts[static_cast<size_t>(length)], 203 / 3 / 2);
  for (const int length : {2, 3}) EXPECT_GE(outputs[static_cast<size_t>(length)], 203 / 2 / 2);
}

TEST(PlanLoadTest, EqualSeedsGiveEqualLoad) {
  const LoadOptions options = {.requests = 5, .prompt_tokens = {4, 9}, .rate = 3, .seed = 7};
  LoadOptions other = options;
  other.seed = 8;
  const auto plan = PlanLoad(options, 1000);
  const auto again = PlanLoad(options, 1000);
  const auto different = PlanLoad(other, 1000);
  for (size_t i = 0; i < plan.size(); ++i) {
    EXPECT_EQ(plan[i].prompt_token_ids, again[i].prompt_token_ids);
    EXPECT_EQ(plan[i].due, again[i].due);
    EXPECT_NE(plan[i].prompt_token_ids, different[i].prompt_token_ids);
  }
}

TEST(PlanLoadTest, ARateSpreadsRequestsAtRandom) {
  constexpr int kRequests = 2000;
  constexpr double kRate = 4;
  const auto plan = PlanLoad({.requests = kRequests, .warmup = 2, .rate = kRate}, 10);
  EXPECT_EQ(plan[0].due, absl::ZeroDuration());
  EXPECT_EQ(plan[1].due, absl::ZeroDuration());
  EXPECT_EQ(plan[2].due, absl::ZeroDuration());
  double sum = 0, squares = 0;
  for (size_t i = 3; i < plan.size(); ++i) {
    const double interval = absl::ToDoubleSeconds(plan[i].due - plan[i - 1].due);
    ASSERT_GT(interval, 0);
    sum += interval;
    squares += interval * interval;
  }
  // Of an exponential distribution of mean m, the deviation is m too; that of a mean over n is
  // m / sqrt(n), and five of them are allowed.
  const double count = kRequests - 1;
  EXPECT_NEAR(sum / count, 1 / kRate, 5 / kRate / std::sqrt(count));
  EXPECT_NEAR(squares / count, 2 / (kRate * kRate), 5 * std::sqrt(20 / count) / (kRate * kRate));
}

}  // namespace
}  // namespace phalanx
