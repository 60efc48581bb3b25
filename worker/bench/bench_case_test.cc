#include "worker/bench/bench_case.h"

#include "gtest/gtest.h"

namespace phalanx {
namespace {

using Kind = BenchCase::Kind;

TEST(ParseBenchCaseTest, ReadsBothKinds) {
  EXPECT_EQ(ParseBenchCase("prefill 512").value(),
            (BenchCase{.kind = Kind::kPrefill, .depth = 512}));
  EXPECT_EQ(ParseBenchCase("  decode 8 0  32 ").value(),
            (BenchCase{.kind = Kind::kDecode, .batch = 8, .depth = 0, .steps = 32}));
}

TEST(ParseBenchCaseTest, RefusesEverythingElse) {
  for (const char* line : {"", "prefill", "prefill 0", "prefill -1", "prefill 5 6", "prefill x",
                           "decode 1 2", "decode 0 2 3", "decode 1 2 0", "decode 1 2 3 4",
                           "decode 1 2 99999999999", "saturated 1"}) {
    const absl::Status status = ParseBenchCase(line).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << line;
    EXPECT_NE(status.message().find(line), std::string::npos) << status;
  }
}

TEST(BenchCaseTest, AnswersLastAsLongAsPromptsAreTakenIn) {
  const BenchCase decode = {.batch = 4, .depth = 100, .steps = 16, .repeats = 3};
  // Each prompt takes two steps of 64 tokens and a rest; 48 steps are measured.
  EXPECT_EQ(AnswerTokens(decode, 64), 4 * 3 + kWarmSteps + 48 + 2);
  EXPECT_EQ(ContextTokens(decode, 64), 100 + AnswerTokens(decode, 64));
}

TEST(BenchCaseTest, KvTokensAreWholeBlocksOfEachSequence) {
  const BenchCase prefill = {.kind = Kind::kPrefill, .depth = 32};
  EXPECT_EQ(KvTokens(prefill, 256), 48);
  const BenchCase saturated = {.kind = Kind::kSaturated, .batch = 3, .depth = 10, .answer = 4};
  EXPECT_EQ(KvTokens(saturated, 256), 3 * 32);
}

TEST(BenchCaseTest, APromptHasATokenAtLeast) {
  const BenchCase decode = {.batch = 1, .depth = 0, .steps = 1};
  EXPECT_EQ(ContextTokens(decode, 256), 1 + AnswerTokens(decode, 256));
}

TEST(BenchResultTest, RatesAreThoseOfTheMedian) {
  BenchResult result;
  result.seconds = {0.1, 0.2, 0.8};
  result.tokens = 8;
  result.bytes = 1e9;
  EXPECT_DOUBLE_EQ(result.tokens_per_second(), 40);
  EXPECT_DOUBLE_EQ(result.gb_per_second(), 5);
}

TEST(BenchResultTest, MedianOfAnEvenNumberIsTheMiddle) {
  EXPECT_DOUBLE_EQ(Median({4, 1, 3, 2}), 2.5);
  EXPECT_DOUBLE_EQ(Median({7}), 7);
}

}  // namespace
}  // namespace phalanx
