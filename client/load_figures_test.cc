#include "client/load_figures.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

absl::Time At(double seconds) { return absl::UnixEpoch() + absl::Seconds(seconds); }

// A request whose tokens come one by one at these times, the last of which is its end.
RequestRecord Record(double start, const std::vector<double>& tokens) {
  RequestRecord record(At(start));
  record.set_prompt_tokens(10);
  for (const double time : tokens) record.AddTokens(1, At(time));
  record.End(absl::OkStatus(), At(tokens.back()));
  return record;
}

RequestRecord Failed(const absl::Status& status) {
  RequestRecord record(At(0));
  record.AddTokens(5, At(1));
  record.End(status, At(50));
  return record;
}

TEST(RequestRecordTest, TokensThatComeTogetherShareTheTime) {
  RequestRecord record(At(10));
  record.AddTokens(2, At(11));
  record.AddTokens(1, At(13));
  record.AddTokens(4, At(14));
  EXPECT_EQ(record.first_token(), absl::Seconds(1));
  EXPECT_EQ(record.output_tokens(), 7);
  EXPECT_THAT(record.token_seconds(), ElementsAre(2, 0.25, 0.25, 0.25, 0.25));
}

TEST(QuantileTest, IsAsNumpyHasIt) {
  const std::vector<double> values = {1, 2, 4, 8};
  EXPECT_DOUBLE_EQ(Quantile(values, 0), 1);
  EXPECT_DOUBLE_EQ(Quantile(values, 0.5), 3);
  EXPECT_DOUBLE_EQ(Quantile(values, 0.9), 4 + 0.7 * 4);
  EXPECT_DOUBLE_EQ(Quantile(values, 1), 8);
  EXPECT_DOUBLE_EQ(Quantile({5}, 0.99), 5);
}

TEST(PercentilesTest, NeedsNoOrder) {
  const Percentiles figures = PercentilesOf({3, 1, 2});
  EXPECT_EQ(figures.count, 3u);
  EXPECT_DOUBLE_EQ(figures.mean, 2);
  EXPECT_DOUBLE_EQ(figures.p50, 2);
  EXPECT_DOUBLE_EQ(figures.p90, 2.8);
  EXPECT_DOUBLE_EQ(figures.most, 3);
  EXPECT_EQ(PercentilesOf({}).count, 0u);
}

TEST(SummarizeTest, RatesAreOverTheWholeRun) {
  const LoadFigures figures =
      Summarize({Record(0, {1, 2, 3}), Record(1, {4, 5}), Record(2, {10})}, false);
  EXPECT_EQ(figures.completed, 3);
  EXPECT_EQ(figures.failed(), 0);
  EXPECT_DOUBLE_EQ(figures.seconds, 10);
  EXPECT_DOUBLE_EQ(figures.requests_per_second, 0.3);
  EXPECT_DOUBLE_EQ(figures.output_tokens_per_second, 0.6);
  EXPECT_DOUBLE_EQ(figures.total_tokens_per_second, 3.6);
  EXPECT_EQ(figures.first_token.count, 3u);
  EXPECT_DOUBLE_EQ(figures.first_token.p50, 3);
  EXPECT_EQ(figures.inter_token.count, 3u);
  EXPECT_DOUBLE_EQ(figures.inter_token.mean, 1);
  EXPECT_DOUBLE_EQ(figures.end_to_end.most, 8);
}

TEST(SummarizeTest, FailuresAreCountedAndTheirTimesAreNot) {
  const LoadFigures figures = Summarize(
      {Failed(absl::UnavailableError("first")), Record(0, {1, 2}),
       Failed(absl::UnavailableError("second")), Failed(absl::CancelledError("by the server"))},
      false);
  EXPECT_EQ(figures.completed, 1);
  EXPECT_EQ(figures.failed(), 3);
  EXPECT_THAT(figures.errors, ElementsAre(Pair("CANCELLED", 1), Pair("UNAVAILABLE", 2)));
  EXPECT_EQ(figures.first_messages.at("UNAVAILABLE"), "first");
  EXPECT_DOUBLE_EQ(figures.seconds, 2);
  EXPECT_EQ(figures.output_tokens, 2);
}

TEST(SummarizeTest, WhatTheUserCancelledIsNoFailure) {
  const LoadFigures figures =
      Summarize({Failed(absl::CancelledError("")), Record(0, {1, 2})}, true);
  EXPECT_EQ(figures.cancelled, 1);
  EXPECT_EQ(figures.failed(), 0);
  EXPECT_EQ(figures.completed, 1);
}

TEST(SummarizeTest, OfNothingEverythingIsZero) {
  const LoadFigures figures = Summarize({}, false);
  EXPECT_EQ(figures.completed, 0);
  EXPECT_EQ(figures.requests_per_second, 0);
  EXPECT_EQ(figures.end_to_end.count, 0u);
}

}  // namespace
}  // namespace phalanx
