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

  // Counts a finished call of "Generate", "Tokenize", ..., and among the refusals if its status is
  // one (coordinator/admission/refusal.h).
  void CountRequest(absl::string_view method, const absl::Status& status);
  void SetGroups(GroupState state, int count);
  void CountMove(MoveReason reason);

  // Generate and Score. Running: from the first step of a worker group to the end, whether it is
  // preempted or moves to another group; waiting: arrived, not running.
  prometheus::Gauge& requests_running;
  prometheus::Gauge& requests_waiting;
  // Of requests that a worker group accepted.
  prometheus::Counter& prompt_tokens;
  prometheus::Counter& generation_tokens;
  // Those of them that were reasoning, counted when their request ends.
  prometheus::Counter& reasoning_tokens;
  // From the arrival of a Generate call to its first token, once for each call that got one.
  prometheus::Histogram& time_to_first_token;
  // From the arrival of a Generate call to its end, once for each call that ended well.
  prometheus::Histogram& e2e_request_latency;
  // Of Generate calls, once per token after the first; tokens of one event share its time.
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
