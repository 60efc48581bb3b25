#include "worker/bench/bench_options.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/options.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using Kind = BenchCase::Kind;

BenchOptions Parse(std::vector<std::string> arguments) {
  CLI::App app;
  BenchOptions options;
  AddBenchOptions(app, options);
  std::reverse(arguments.begin(), arguments.end());
  app.parse(arguments);
  return options;
}

TEST(BenchOptionsTest, MeasuresPromptsFirstAndThenEachDepth) {
  const BenchOptions options = Parse({"--model", "m", "--prefill", "64", "--batches", "1,2",
                                      "--depths", "0,32", "--steps", "5", "--repeats", "2"});
  const std::vector<BenchCase> cases = BenchCases(options);
  ASSERT_EQ(cases.size(), 5);
  EXPECT_EQ(cases[0], (BenchCase{.kind = Kind::kPrefill, .depth = 64, .repeats = 2}));
  EXPECT_EQ(cases[2], (BenchCase{.batch = 2, .depth = 0, .steps = 5, .repeats = 2}));
  EXPECT_EQ(cases[3], (BenchCase{.batch = 1, .depth = 32, .steps = 5, .repeats = 2}));
}

TEST(BenchOptionsTest, ZeroMeasuresNone) {
  EXPECT_TRUE(BenchCases(Parse({"--model", "m", "--prefill", "0", "--batches", "0"})).empty());
}

TEST(BenchOptionsTest, SaturatedAsksForAsManyAsCanRun) {
  const std::vector<BenchCase> cases =
      BenchCases(Parse({"--model", "m", "--prefill", "0", "--batches", "0", "--saturated_seconds",
                        "3", "--max_seqs", "7"}));
  ASSERT_EQ(cases.size(), 1);
  EXPECT_EQ(cases[0].kind, Kind::kSaturated);
  EXPECT_EQ(cases[0].batch, 7);
  EXPECT_EQ(cases[0].seconds, 3);
}

TEST(BenchOptionsTest, TakesTheOptionsOfTheWorker) {
  const BenchOptions options = Parse({"--model", "m", "--threads", "3", "--tp", "2"});
  EXPECT_EQ(options.worker.threads, 3);
  EXPECT_EQ(options.worker.tp, 2);
  EXPECT_EQ(options.worker.metrics_listen.port, 0);
}

TEST(BenchOptionsTest, WantsAModelOrAShape) {
  EXPECT_TRUE(CheckBenchOptions(Parse({"--model", "m"})).ok());
  EXPECT_TRUE(CheckBenchOptions(Parse({"--synthetic", "tiny"})).ok());
  EXPECT_THAT(CheckBenchOptions(Parse({})).ToString(), HasSubstr("--synthetic"));
  EXPECT_FALSE(CheckBenchOptions(Parse({"--model", "m", "--synthetic", "tiny"})).ok());
  EXPECT_THAT(CheckBenchOptions(Parse({"--synthetic", "tiny", "--tp", "2"})).ToString(),
              HasSubstr("--tp"));
}

}  // namespace
}  // namespace phalanx
