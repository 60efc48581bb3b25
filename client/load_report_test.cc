#include "client/load_report.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

LoadFigures Figures() {
  LoadFigures figures;
  figures.completed = 3;
  figures.errors = {{"UNAVAILABLE", 2}};
  figures.first_messages = {{"UNAVAILABLE", "no group"}};
  figures.seconds = 4;
  figures.requests_per_second = 0.75;
  figures.output_tokens_per_second = 96;
  figures.total_tokens_per_second = 192;
  figures.first_token = {
      .count = 3, .mean = 0.08, .p50 = 0.07, .p90 = 0.1, .p99 = 0.11, .most = 0.12};
  figures.inter_token = figures.first_token;
  figures.end_to_end = figures.first_token;
  return figures;
}

LoadSetting Setting() { return {.target = "t:1", .model = "m", .options = {.requests = 5}}; }

TEST(LoadReportTest, TableHasThroughputPercentilesAndErrors) {
  EXPECT_THAT(
      LoadTable(Setting(), Figures()),
      AllOf(HasSubstr("m at t:1: 5 requests, 8 at once, prompts of 128 tokens, answers of 128\n"),
            HasSubstr("3 completed, 2 failed\n  2 UNAVAILABLE: no group\n"),
            HasSubstr("generated tokens             96.0 /s"),
            HasSubstr("time to first token          80.0       70.0      100.0      110.0      "
                      "120.0\n")));
}

TEST(LoadReportTest, WithoutACompletedRequestThereIsNoTable) {
  LoadFigures figures = Figures();
  figures.completed = 0;
  EXPECT_THAT(LoadTable(Setting(), figures),
              AllOf(HasSubstr("0 completed, 2 failed"), Not(HasSubstr("p99"))));
}

TEST(LoadReportTest, AnswersOfOneTokenHaveNothingBetween) {
  LoadFigures figures = Figures();
  figures.inter_token = {};
  EXPECT_THAT(LoadTable(Setting(), figures), HasSubstr("between tokens                  -\n"));
}

TEST(LoadReportTest, AnInterruptIsTold) {
  LoadSetting setting = Setting();
  setting.interrupted = true;
  LoadFigures figures = Figures();
  figures.cancelled = 4;
  EXPECT_THAT(LoadTable(setting, figures), HasSubstr("2 failed, interrupted with 4 running"));
}

TEST(LoadReportTest, JsonHasEveryField) {
  const auto json = nlohmann::json::parse(LoadJson(Setting(), Figures()));
  EXPECT_EQ(json["model"], "m");
  EXPECT_EQ(json["seed"], "1");
  EXPECT_EQ(json["completed"], 3);
  EXPECT_EQ(json["failed"], 2);
  EXPECT_EQ(json["errors"]["UNAVAILABLE"], 2);
  EXPECT_EQ(json["prompt_tokens"]["max"], 128);
  EXPECT_EQ(json["output_tokens_per_second"], 96);
  EXPECT_EQ(json["time_to_first_token_seconds"]["p99"], 0.11);
  // Each field of the object is in the help.
  for (const auto& [key, value] : json.items()) {
    EXPECT_THAT(std::string(BenchJsonHelp()), HasSubstr(key));
  }
}

TEST(LoadReportTest, ProgressHasTheRateSoFar) {
  EXPECT_EQ(ProgressLine({.ended = 12,
                          .failed = 1,
                          .running = 8,
                          .output_tokens = 600,
                          .elapsed = absl::Seconds(6)},
                         64),
            "12 of 64 done, 8 running, 1 failed, 100.0 tokens/s, 6 s");
}

}  // namespace
}  // namespace phalanx
