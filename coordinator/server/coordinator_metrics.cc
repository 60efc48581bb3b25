#include "coordinator/server/coordinator_metrics.h"

#include <optional>

#include "base/metrics_endpoint.h"

namespace phalanx {
namespace {

// The codes run from OK, 0, to UNAUTHENTICATED, 16.
constexpr int kNumStatusCodes = 17;

prometheus::Gauge& MakeGauge(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
}

prometheus::Counter& MakeCounter(prometheus::Registry& registry, const char* name,
                                 const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add({});
}

prometheus::Histogram& MakeHistogram(prometheus::Registry& registry, const char* name,
                                     const char* help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add(
      {}, RequestLatencyBuckets());
}

}  // namespace

CoordinatorMetrics::CoordinatorMetrics(prometheus::Registry& registry, const std::string& model)
    : requests_running(MakeGauge(registry, "phalanx_requests_running",
                                 "Requests that a worker group works on, from their first step to "
                                 "their end.")),
      requests_waiting(MakeGauge(registry, "phalanx_requests_waiting",
                                 "Requests that arrived and that no worker group works on yet: "
                                 "here, or in the queue of a group.")),
      prompt_tokens(MakeCounter(registry, "phalanx_prompt_tokens_total",
                                "Prompt tokens of requests accepted by a worker group.")),
      generation_tokens(
          MakeCounter(registry, "phalanx_generation_tokens_total", "Tokens generated.")),
      reasoning_tokens(MakeCounter(registry, "phalanx_reasoning_tokens_total",
                                   "Generated tokens of requests that have ended which were "
                                   "reasoning, split from the answer.")),
      time_to_first_token(MakeHistogram(registry, "phalanx_time_to_first_token_seconds",
                                        "From a request's arrival to its first token.")),
      e2e_request_latency(
          MakeHistogram(registry, "phalanx_e2e_request_latency_seconds",
                        "From a request's arrival to the end of its answer, for those "
                        "that got a whole one; the others are counted in "
                        "phalanx_requests_total.")),
      inter_token_latency(MakeHistogram(registry, "phalanx_inter_token_latency_seconds",
                                        "Between tokens of one request, after the first.")),
      model_(model),
      requests_(prometheus::BuildCounter()
                    .Name("phalanx_requests_total")
                    .Help("Finished requests by method and status code.")
                    .Register(registry)) {
  for (const char* method :
       {"Generate", "Score", "Tokenize", "Detokenize", "GetModel", "ListModels"}) {
    // A series for every code: one that begins with its first error does not show as an increase.
    for (int code = 0; code < kNumStatusCodes; ++code) {
      requests_.Add(RequestLabels(method, static_cast<absl::StatusCode>(code)));
    }
  }
  auto& refusals = prometheus::BuildCounter()
                       .Name("phalanx_refusals_total")
                       .Help("Requests that were not taken in, by the kind of the refusal.")
                       .Register(registry);
  for (int i = 0; i < kNumRefusalKinds; ++i) {
    const std::string kind(RefusalKindName(static_cast<RefusalKind>(i)));
    refusals_[i] = &refusals.Add({{"kind", kind}});
  }
  auto& groups = prometheus::BuildGauge()
                     .Name("phalanx_worker_groups")
                     .Help("Worker groups by state.")
                     .Register(registry);
  for (int i = 0; i < kNumGroupStates; ++i) {
    const std::string state(GroupStateName(static_cast<GroupState>(i)));
    groups_[i] = &groups.Add({{"state", state}});
  }
  auto& moves = prometheus::BuildCounter()
                    .Name("phalanx_requests_moved_total")
                    .Help("Times that a request went from one worker group to another, by reason.")
                    .Register(registry);
  for (int i = 0; i < kNumMoveReasons; ++i) {
    const std::string reason(MoveReasonName(static_cast<MoveReason>(i)));
    moves_[i] = &moves.Add({{"reason", reason}});
  }
}

void CoordinatorMetrics::CountRequest(absl::string_view method, const absl::Status& status) {
  requests_.Add(RequestLabels(method, status.code())).Increment();
  if (const std::optional<RefusalKind> kind = KindOfRefusal(status)) {
    refusals_[static_cast<int>(*kind)]->Increment();
  }
}

prometheus::Labels CoordinatorMetrics::RequestLabels(absl::string_view method,
                                                     absl::StatusCode code) const {
  return {
      {"model", model_}, {"method", std::string(method)}, {"code", absl::StatusCodeToString(code)}};
}

void CoordinatorMetrics::SetGroups(GroupState state, int count) {
  groups_[static_cast<int>(state)]->Set(count);
}

void CoordinatorMetrics::CountMove(MoveReason reason) {
  moves_[static_cast<int>(reason)]->Increment();
}

}  // namespace phalanx
