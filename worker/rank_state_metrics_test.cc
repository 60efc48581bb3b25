#include "worker/rank_state_metrics.h"

#include <map>
#include <string>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

// Values by name and rank.
std::map<std::string, double> Scrape(const prometheus::Registry& registry) {
  std::map<std::string, double> values;
  for (const auto& family : registry.Collect()) {
    for (const auto& metric : family.metric) {
      const std::string rank = metric.label.empty() ? "" : " " + metric.label[0].value;
      values[family.name + rank] = metric.gauge.value;
    }
  }
  return values;
}

TEST(RankStateMetricsTest, TellOfEachRankButTheLeader) {
  prometheus::Registry registry;
  RankStateMetrics metrics(registry, 3);
  EXPECT_EQ(Scrape(registry),
            (std::map<std::string, double>{{"phalanx_rank_skew_seconds", 0},
                                           {"phalanx_rank_heartbeat_age_seconds 1", 0},
                                           {"phalanx_rank_heartbeat_age_seconds 2", 0}}));
  std::vector<RankState> ranks(3);
  ranks[0].lag = absl::Milliseconds(1);
  ranks[1].lag = absl::Milliseconds(250);
  ranks[1].heartbeat_age = absl::Milliseconds(500);
  ranks[2].heartbeat_age = absl::Seconds(2);
  metrics.Update(ranks);
  EXPECT_EQ(Scrape(registry),
            (std::map<std::string, double>{{"phalanx_rank_skew_seconds", 0.25},
                                           {"phalanx_rank_heartbeat_age_seconds 1", 0.5},
                                           {"phalanx_rank_heartbeat_age_seconds 2", 2}}));
}

TEST(RankStateMetricsTest, ARankAloneHasNoSkew) {
  prometheus::Registry registry;
  RankStateMetrics metrics(registry, 1);
  metrics.Update(std::vector<RankState>(1));
  EXPECT_EQ(Scrape(registry), (std::map<std::string, double>{{"phalanx_rank_skew_seconds", 0}}));
}

}  // namespace
}  // namespace phalanx
