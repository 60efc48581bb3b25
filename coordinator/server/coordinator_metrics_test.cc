#include "coordinator/server/coordinator_metrics.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "prometheus/text_serializer.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;

TEST(CoordinatorMetricsTest, EverySeriesIsThereBeforeAnythingHappened) {
  prometheus::Registry registry;
  const CoordinatorMetrics metrics(registry, "tiny");
  const std::string page = prometheus::TextSerializer().Serialize(registry.Collect());
  for (const char* line : {
           "phalanx_requests_total{code=\"OK\",method=\"Generate\",model=\"tiny\"} 0",
           "phalanx_requests_total{code=\"OK\",method=\"ListModels\",model=\"tiny\"} 0",
           "phalanx_requests_total{code=\"INTERNAL\",method=\"Generate\",model=\"tiny\"} 0",
           "phalanx_requests_total{code=\"UNAUTHENTICATED\",method=\"Tokenize\",model=\"tiny\"} 0",
           "phalanx_requests_running 0",
           "phalanx_requests_waiting 0",
           "phalanx_prompt_tokens_total 0",
           "phalanx_generation_tokens_total 0",
           "phalanx_time_to_first_token_seconds_count 0",
           "phalanx_inter_token_latency_seconds_count 0",
           "phalanx_e2e_request_latency_seconds_count 0",
           "phalanx_worker_groups{state=\"serving\"} 0",
           "phalanx_worker_groups{state=\"connecting\"} 0",
           "phalanx_worker_groups{state=\"not_serving\"} 0",
           "phalanx_worker_groups{state=\"refused\"} 0",
       }) {
    EXPECT_THAT(page, HasSubstr(line));
  }
}

size_t NumSeries(const prometheus::Registry& registry) {
  size_t count = 0;
  for (const auto& family : registry.Collect()) count += family.metric.size();
  return count;
}

TEST(CoordinatorMetricsTest, CountsRequestsByMethodAndCode) {
  prometheus::Registry registry;
  CoordinatorMetrics metrics(registry, "tiny");
  const size_t series = NumSeries(registry);
  metrics.CountRequest("Generate", absl::OkStatus());
  metrics.CountRequest("Generate", absl::OkStatus());
  metrics.CountRequest("Tokenize", absl::InvalidArgumentError("no refusal"));
  metrics.CountRequest("Score",
                       Refused(RefusalKind::kQueueFull, absl::ResourceExhaustedError("full")));
  metrics.SetGroups(GroupState::kServing, 3);
  const std::string page = prometheus::TextSerializer().Serialize(registry.Collect());
  EXPECT_THAT(page, HasSubstr("{code=\"OK\",method=\"Generate\",model=\"tiny\"} 2"));
  EXPECT_THAT(page, HasSubstr("{code=\"INVALID_ARGUMENT\",method=\"Tokenize\",model=\"tiny\"} 1"));
  EXPECT_THAT(page, HasSubstr("{code=\"RESOURCE_EXHAUSTED\",method=\"Score\",model=\"tiny\"} 1"));
  EXPECT_THAT(page, HasSubstr("phalanx_refusals_total{kind=\"queue_full\"} 1"));
  for (int i = 0; i < kNumRefusalKinds; ++i) {
    const auto kind = static_cast<RefusalKind>(i);
    if (kind == RefusalKind::kQueueFull) continue;
    EXPECT_THAT(page, HasSubstr(absl::StrCat("phalanx_refusals_total{kind=\"",
                                             RefusalKindName(kind), "\"} 0")));
  }
  EXPECT_THAT(page, HasSubstr("phalanx_worker_groups{state=\"serving\"} 3"));
  EXPECT_EQ(NumSeries(registry), series) << "a series was made late";
}

}  // namespace
}  // namespace phalanx
