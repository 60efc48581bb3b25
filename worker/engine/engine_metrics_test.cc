#include "worker/engine/engine_metrics.h"

#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::Contains;
using ::testing::Pair;
using ::testing::SizeIs;

std::map<std::string, std::vector<prometheus::ClientMetric>> Scrape(
    const prometheus::Registry& registry) {
  std::map<std::string, std::vector<prometheus::ClientMetric>> families;
  for (const auto& family : registry.Collect()) families[family.name] = family.metric;
  return families;
}

TEST(EngineMetricsTest, AllFamiliesAndSeriesAreThereFromTheStart) {
  prometheus::Registry registry;
  const EngineMetrics metrics(registry);
  const auto families = Scrape(registry);
  for (const char* name :
       {"phalanx_engine_requests_running", "phalanx_engine_requests_waiting",
        "phalanx_engine_prompt_tokens_total", "phalanx_engine_generation_tokens_total",
        "phalanx_engine_preemptions_total", "phalanx_engine_kv_blocks_used",
        "phalanx_engine_kv_blocks_capacity", "phalanx_engine_kv_blocks_cached",
        "phalanx_engine_kv_blocks_evicted_total",
        "phalanx_engine_prefix_cache_queried_tokens_total",
        "phalanx_engine_prefix_cache_hit_tokens_total", "phalanx_engine_step_seconds",
        "phalanx_engine_step_tokens", "phalanx_engine_time_to_first_token_seconds",
        "phalanx_engine_step_age_seconds", "phalanx_group_rank_silence_seconds",
        "phalanx_speculation_drafted_tokens_total", "phalanx_speculation_accepted_tokens_total"}) {
    EXPECT_THAT(families, Contains(Pair(name, SizeIs(1)))) << name;
  }
  EXPECT_THAT(families, Contains(Pair("phalanx_engine_requests_total", SizeIs(7))));
}

TEST(EngineMetricsTest, CountsRequestsByCode) {
  prometheus::Registry registry;
  EngineMetrics metrics(registry);
  metrics.CountRequest(absl::StatusCode::kOk);
  metrics.CountRequest(absl::StatusCode::kDeadlineExceeded);
  metrics.CountRequest(absl::StatusCode::kDeadlineExceeded);
  const auto families = Scrape(registry);
  std::map<std::string, double> counts;
  for (const auto& series : families.at("phalanx_engine_requests_total")) {
    counts[series.label.at(0).value] = series.counter.value;
  }
  EXPECT_EQ(counts.at("OK"), 1);
  EXPECT_EQ(counts.at("DEADLINE_EXCEEDED"), 2);
  EXPECT_EQ(counts.at("INTERNAL"), 0);
}

}  // namespace
}  // namespace phalanx
