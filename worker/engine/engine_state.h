// A snapshot of what an engine does, for people who look at it.
#ifndef PHALANX_WORKER_ENGINE_ENGINE_STATE_H_
#define PHALANX_WORKER_ENGINE_ENGINE_STATE_H_

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "worker/engine/request.h"

namespace phalanx {

enum class RequestPhase {
  kWaiting,     // No step has worked on it yet.
  kPrefilling,  // More than one token is pending, which is so again after a preemption.
  kDecoding,    // Each step generates a token.
  kPreempted,   // It ran, has lost its blocks, and waits to be computed again.
};

struct RequestSnapshot {
  RequestId id{};
  RequestPhase phase = RequestPhase::kWaiting;
  // Since it was submitted.
  absl::Duration age;
  int32_t prompt_tokens = 0;
  // Tokens in the KV cache, those that steps in flight write included.
  int32_t computed_tokens = 0;
  int32_t generated_tokens = 0;
  int32_t kv_blocks = 0;
  // Prompt tokens that the prefix cache had when it began.
  int32_t cached_tokens = 0;
  bool score = false;
};

// Totals are since the engine was made.
struct EngineState {
  int running_requests = 0;
  int waiting_requests = 0;
  // Oldest first, at most as many as were asked for.
  std::vector<RequestSnapshot> requests = {};

  int total_kv_blocks = 0;
  int used_kv_blocks = 0;
  int cached_kv_blocks = 0;

  int steps_in_flight = 0;
  // As Engine::step_age.
  absl::Duration step_age;
  int64_t steps_ended = 0;
  // Of the step that ended last.
  absl::Duration last_step_time;
  int last_step_tokens = 0;
  int last_step_seqs = 0;
  // Averages over the last ten seconds.
  double computed_tokens_per_second = 0;
  double generated_tokens_per_second = 0;

  int64_t prompt_tokens = 0;
  int64_t generated_tokens = 0;
  int64_t preemptions = 0;
  // Prompt tokens of requests that looked into the prefix cache, and those that it had.
  int64_t cache_queried_tokens = 0;
  int64_t cache_hit_tokens = 0;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_ENGINE_STATE_H_
