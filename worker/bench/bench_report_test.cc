#include "worker/bench/bench_report.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

BenchSetting Setting() {
  return {.model = "a model",
          .backend = "cpu avx2, 2 threads",
          .processor = "a processor",
          .ranks = 1,
          .threads = 2,
          .weight_bytes = 2.5e9,
          .kv_bytes_per_token = 46080,
          .kv_cache_tokens = 16384,
          .prompts_computed = false,
          .ceilings = {.fma_gflop_per_s = 200, .read_gb_per_s = 40}};
}

BenchResult Decode() {
  BenchResult result;
  result.bench_case = {.batch = 8, .depth = 1024};
  result.seconds = {0.09, 0.1, 0.12};
  result.tokens = 8;
  result.bytes = 3e9;
  return result;
}

TEST(BenchReportTest, ALineHasRatesAndTheShareOfTheCeiling) {
  EXPECT_EQ(
      TableLine(Decode(), Setting()),
      "decode            8    1024       80.0     100.00    90.00 to 120.00    30.0     75 %");
  EXPECT_EQ(TableHead().size(), TableLine(Decode(), Setting()).size());
}

TEST(BenchReportTest, WithoutACeilingThereIsNoShare) {
  BenchSetting setting = Setting();
  setting.ceilings = {};
  EXPECT_THAT(TableLine(Decode(), setting), AllOf(HasSubstr(" 30.0"), Not(HasSubstr("%"))));
  EXPECT_THAT(DescribeSetting(setting), Not(HasSubstr("ceilings")));
  EXPECT_FALSE(ResultJson(Decode(), setting).contains("percent_of_read"));
}

TEST(BenchReportTest, ACaseThatWasNotMeasuredSaysWhy) {
  BenchResult result;
  result.bench_case = {.batch = 32, .depth = 4096};
  result.skipped = "the KV cache holds 64 tokens";
  EXPECT_THAT(TableLine(result, Setting()), HasSubstr("not measured: the KV cache holds 64"));
  const auto json = ResultJson(result, Setting());
  EXPECT_EQ(json["skipped"], "the KV cache holds 64 tokens");
  EXPECT_FALSE(json.contains("tokens_per_second"));
}

TEST(BenchReportTest, JsonHasTheFigures) {
  const auto json = ResultJson(Decode(), Setting());
  EXPECT_EQ(json["case"], "decode");
  EXPECT_EQ(json["sequences"], 8);
  EXPECT_EQ(json["tokens"], 1024);
  EXPECT_DOUBLE_EQ(json["tokens_per_second"], 80);
  EXPECT_DOUBLE_EQ(json["percent_of_read"], 75);
  EXPECT_EQ(json["seconds"].size(), 3);
  EXPECT_EQ(SettingJson(Setting())["read_gb_per_s"], 40);
}

TEST(BenchReportTest, TheSettingNamesWhatMatters) {
  EXPECT_THAT(DescribeSetting(Setting()),
              AllOf(HasSubstr("a model on a processor, cpu avx2"), HasSubstr("1 rank of 2 threads"),
                    HasSubstr("2.500 GB"), HasSubstr("40.0 GB/s read")));
}

}  // namespace
}  // namespace phalanx
