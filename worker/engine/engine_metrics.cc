#include "worker/engine/engine_metrics.h"

#include <string>

#include "base/metrics_endpoint.h"

namespace phalanx {
namespace {

// All that a request can end with.
constexpr absl::StatusCode kCodes[] = {
    absl::StatusCode::kOk,
    absl::StatusCode::kCancelled,
    absl::StatusCode::kInvalidArgument,
    absl::StatusCode::kDeadlineExceeded,
    absl::StatusCode::kResourceExhausted,
    absl::StatusCode::kInternal,
    absl::StatusCode::kUnavailable,
};

prometheus::Labels CodeLabels(absl::StatusCode code) {
  return {{"code", absl::StatusCodeToString(code)}};
}

prometheus::Counter& AddCounter(prometheus::Registry& registry, const std::string& name,
                                const std::string& help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add({});
}

prometheus::Gauge& AddGauge(prometheus::Registry& registry, const std::string& name,
                            const std::string& help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
}

prometheus::Histogram& AddHistogram(prometheus::Registry& registry, const std::string& name,
                                    const std::string& help,
                                    const prometheus::Histogram::BucketBoundaries& buckets) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
}

// Powers of two up to more than any step takes.
prometheus::Histogram::BucketBoundaries StepTokenBuckets() {
  prometheus::Histogram::BucketBoundaries buckets;
  for (int bound = 1; bound <= 16384; bound *= 2) buckets.push_back(bound);
  return buckets;
}

}  // namespace

EngineMetrics::EngineMetrics(prometheus::Registry& registry)
    : requests_total_(prometheus::BuildCounter()
                          .Name("phalanx_engine_requests_total")
                          .Help("Requests refused or ended, by status code.")
                          .Register(registry)),
      requests_running(
          AddGauge(registry, "phalanx_engine_requests_running", "Requests that hold KV blocks.")),
      requests_waiting(AddGauge(registry, "phalanx_engine_requests_waiting",
                                "Requests that wait to run, preempted ones included.")),
      waiting_tokens(AddGauge(registry, "phalanx_engine_waiting_tokens",
                              "Tokens of the requests that wait to run.")),
      tokens_per_second(AddGauge(registry, "phalanx_engine_tokens_per_second",
                                 "Speed of the latest steps that were at least half full; 0 "
                                 "while it is not known.")),
      deadline_refusals_total(
          AddCounter(registry, "phalanx_engine_deadline_refusals_total",
                     "Requests that were ended before their deadline because their first token "
                     "could not be there by then.")),
      prompt_tokens_total(AddCounter(registry, "phalanx_engine_prompt_tokens_total",
                                     "Prompt tokens of the requests that got a first token.")),
      generation_tokens_total(
          AddCounter(registry, "phalanx_engine_generation_tokens_total", "Tokens generated.")),
      preemptions_total(AddCounter(registry, "phalanx_engine_preemptions_total",
                                   "Times that a request lost its KV blocks to an older one.")),
      drafted_tokens_total(
          AddCounter(registry, "phalanx_speculation_drafted_tokens_total",
                     "Tokens that were guessed ahead of their turn, and computed.")),
      accepted_tokens_total(AddCounter(registry, "phalanx_speculation_accepted_tokens_total",
                                       "Those of them that were generated.")),
      kv_blocks_used(AddGauge(registry, "phalanx_engine_kv_blocks_used",
                              "KV blocks of the group that requests hold; each rank has its "
                              "heads' part of every block.")),
      kv_blocks_total(
          AddGauge(registry, "phalanx_engine_kv_blocks_capacity", "KV blocks of the group.")),
      kv_blocks_cached(AddGauge(registry, "phalanx_engine_kv_blocks_cached",
                                "KV blocks that no request holds, kept for requests that begin "
                                "with the same tokens until their memory is needed.")),
      kv_blocks_evicted_total(
          AddCounter(registry, "phalanx_engine_kv_blocks_evicted_total",
                     "KV blocks of the prefix cache that were given to other tokens.")),
      prefix_cache_queried_tokens_total(
          AddCounter(registry, "phalanx_engine_prefix_cache_queried_tokens_total",
                     "Prompt tokens of requests that looked into the prefix cache.")),
      prefix_cache_hit_tokens_total(AddCounter(
          registry, "phalanx_engine_prefix_cache_hit_tokens_total",
          "Prompt tokens that were found in the prefix cache, and so were not computed.")),
      step_age_seconds(AddGauge(registry, "phalanx_engine_step_age_seconds",
                                "Time since the last step ended, or since there is work again; 0 "
                                "without work.")),
      rank_silence_seconds(AddGauge(registry, "phalanx_group_rank_silence_seconds",
                                    "Longest time that a rank of the group has not answered for.")),
      step_seconds(AddHistogram(registry, "phalanx_engine_step_seconds",
                                "Time that one step of the group took.", StepLatencyBuckets())),
      step_tokens(AddHistogram(registry, "phalanx_engine_step_tokens",
                               "Tokens computed in one step, prefill and decode together.",
                               StepTokenBuckets())),
      time_to_first_token_seconds(AddHistogram(
          registry, "phalanx_engine_time_to_first_token_seconds",
          "From a request's submission to its first token.", RequestLatencyBuckets())) {
  for (const absl::StatusCode code : kCodes) requests_total_.Add(CodeLabels(code));
}

void EngineMetrics::CountRequest(absl::StatusCode code) {
  // For labels that it has seen before, Add returns the series that it made then.
  requests_total_.Add(CodeLabels(code)).Increment();
}

}  // namespace phalanx
