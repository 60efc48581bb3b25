// The engine's metrics: phalanx_engine_*.
#ifndef PHALANX_WORKER_ENGINE_ENGINE_METRICS_H_
#define PHALANX_WORKER_ENGINE_ENGINE_METRICS_H_

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "prometheus/counter.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"

namespace phalanx {

// Makes all families and series at once, so that they are scraped as 0 from the start. Thread-safe.
// `registry` owns the series and must outlive this object; one per registry.
class EngineMetrics {
 public:
  explicit EngineMetrics(prometheus::Registry& registry);
  EngineMetrics(const EngineMetrics&) = delete;
  EngineMetrics& operator=(const EngineMetrics&) = delete;

  // Once for each request, when it is refused or ends.
  void CountRequest(absl::StatusCode code);

 private:
  prometheus::Family<prometheus::Counter>& requests_total_;

 public:
  prometheus::Gauge& requests_running;
  prometheus::Gauge& requests_waiting;
  prometheus::Gauge& waiting_tokens;
  prometheus::Gauge& tokens_per_second;
  prometheus::Counter& deadline_refusals_total;
  prometheus::Counter& prompt_tokens_total;
  prometheus::Counter& generation_tokens_total;
  prometheus::Counter& preemptions_total;
  prometheus::Counter& drafted_tokens_total;
  prometheus::Counter& accepted_tokens_total;
  prometheus::Gauge& kv_blocks_used;
  prometheus::Gauge& kv_blocks_total;
  prometheus::Gauge& kv_blocks_cached;
  prometheus::Counter& kv_blocks_evicted_total;
  prometheus::Counter& prefix_cache_queried_tokens_total;
  prometheus::Counter& prefix_cache_hit_tokens_total;
  // Set by worker/leader.cc from time to time: a step that hangs cannot set it.
  prometheus::Gauge& step_age_seconds;
  // Set by worker/leader.cc, which asks the group.
  prometheus::Gauge& rank_silence_seconds;
  prometheus::Histogram& step_seconds;
  prometheus::Histogram& step_tokens;
  prometheus::Histogram& time_to_first_token_seconds;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_ENGINE_METRICS_H_
