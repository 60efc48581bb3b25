// What the coordinator tells Prometheus.
#ifndef PHALANX_COORDINATOR_SERVER_COORDINATOR_METRICS_H_
#define PHALANX_COORDINATOR_SERVER_COORDINATOR_METRICS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "coordinator/admission/refusal.h"
#include "coordinator/routing/group_registry.h"
#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"

namespace phalanx {

// Thread-safe. The series live as long as the registry.
class CoordinatorMetrics {
 public:
  // `model` is the label of phalanx_requests_total: the served name, never what a caller sent.
  CoordinatorMetrics(prometheus::Registry& registry, const std::string& model);
  CoordinatorMetrics(const CoordinatorMetrics&) = delete;
  CoordinatorMetrics& operator=(const CoordinatorMetrics&) = delete;

  // Counts a call of "Generate", "Tokenize", ... that has ended, and counts it as a refusal too if
  // its status is one (coordinator/admission/refusal.h).
  void CountRequest(absl::string_view method, const absl::Status& status);
  void SetGroups(GroupState state, int count);
  void CountMove(MoveReason reason);

  // Calls of Generate and Score are in one of these two. requests_running has those that a worker
  // group has begun to work on, until they end, even if they are preempted or move to another
  // group; requests_waiting has those that have arrived and are not running.
  prometheus::Gauge& requests_running;
  prometheus::Gauge& requests_waiting;
  // Prompt tokens of requests that a worker group accepted.
  prometheus::Counter& prompt_tokens;
  prometheus::Counter& generation_tokens;
  // Generated tokens that were reasoning, counted when their request ends.
  prometheus::Counter& reasoning_tokens;
  // From the arrival of a Generate call to its first token, once for each call that got one.
  prometheus::Histogram& time_to_first_token;
  // From the arrival of a Generate call to its end, once for each call that ended well.
  prometheus::Histogram& e2e_request_latency;
  // The time between tokens of Generate calls, once for each token after the first. Tokens of one
  // event share the time since the event before.
  prometheus::Histogram& inter_token_latency;

 private:
  prometheus::Labels RequestLabels(absl::string_view method, absl::StatusCode code) const;

  const std::string model_;
  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Counter* refusals_[kNumRefusalKinds];
  prometheus::Gauge* groups_[kNumGroupStates];
  prometheus::Counter* moves_[kNumMoveReasons];
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_COORDINATOR_METRICS_H_
