#include "worker/rank_metrics.h"

#include <map>
#include <string>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

std::map<std::string, prometheus::ClientMetric> Scrape(const prometheus::Registry& registry) {
  std::map<std::string, prometheus::ClientMetric> metrics;
  for (const auto& family : registry.Collect()) metrics[family.name] = family.metric.at(0);
  return metrics;
}

TEST(RankMetricsTest, AreThereBeforeTheFirstStep) {
  prometheus::Registry registry;
  const RankMetrics metrics(registry);
  auto scraped = Scrape(registry);
  EXPECT_EQ(scraped.size(), 3u);
  EXPECT_EQ(scraped["phalanx_rank_step_seconds"].histogram.sample_count, 0u);
  EXPECT_EQ(scraped["phalanx_engine_all_reduce_seconds"].histogram.sample_count, 0u);
  EXPECT_EQ(scraped["phalanx_all_reduce_bytes_total"].counter.value, 0);
}

TEST(RankMetricsTest, CountEachStep) {
  prometheus::Registry registry;
  RankMetrics metrics(registry);
  metrics.ObserveStep(absl::Milliseconds(20),
                      {.comm_time = absl::Milliseconds(5), .comm_bytes = 700});
  // Its collectives were not timed.
  metrics.ObserveStep(absl::Milliseconds(30), {.comm_bytes = 50});
  auto scraped = Scrape(registry);
  EXPECT_EQ(scraped["phalanx_rank_step_seconds"].histogram.sample_count, 2u);
  EXPECT_DOUBLE_EQ(scraped["phalanx_rank_step_seconds"].histogram.sample_sum, 0.05);
  EXPECT_EQ(scraped["phalanx_engine_all_reduce_seconds"].histogram.sample_count, 1u);
  EXPECT_DOUBLE_EQ(scraped["phalanx_engine_all_reduce_seconds"].histogram.sample_sum, 0.005);
  EXPECT_EQ(scraped["phalanx_all_reduce_bytes_total"].counter.value, 750);
}

}  // namespace
}  // namespace phalanx
