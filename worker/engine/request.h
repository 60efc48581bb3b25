// What can be asked of the engine.
#ifndef PHALANX_WORKER_ENGINE_REQUEST_H_
#define PHALANX_WORKER_ENGINE_REQUEST_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/generation/generation_options.h"
#include "model/generation/sampling.h"
#include "model/spec/long_rope.h"
#include "worker/constraint/constraint_source.h"

namespace phalanx {

// The caller's own name for a request, unique among the live requests of its session.
enum class RequestId : uint64_t {};

// What the answer has to follow, and where it begins.
struct RequestConstraint {
  ConstraintSource source;
  AnswerBegin begin = AnswerBegin::kAtOnce;
};

struct GenerationRequest {
  std::vector<int32_t> prompt_token_ids;
  // 0 if nothing is to be generated, which needs `score`.
  int32_t max_new_tokens = 0;
  // Generation ends after any of these; empty means only at max_new_tokens.
  std::vector<int32_t> eos_token_ids;
  Sampling sampling;
  // What a token is drawn with depends on this and on the token's position, on nothing else.
  uint64_t seed = 0;
  // Counted from submission. Once it has passed, the request ends with DEADLINE_EXCEEDED.
  absl::Duration timeout = absl::InfiniteDuration();
  // Has an effect only if EngineRequestLimits::original_context_tokens is set.
  LongRopePolicy long_rope_policy = kDefaultLongRopePolicy;
  // If set, it is told how likely each prompt token was, given those before it.
  bool score = false;
  // What has been computed for one request serves another only if both have the same salt.
  std::string cache_salt = {};
  // Higher goes first among the requests of a tenant: see worker/engine/wait_queue.h.
  int32_t priority = 0;
  // Tenants take turns. Requests without one belong to one tenant together.
  std::string tenant = {};
  GenerationOptions options = {};
  std::optional<RequestConstraint> constraint = std::nullopt;
};

// What the model allows.
struct EngineRequestLimits {
  int vocab_size = 0;
  // Limit on prompt and generated tokens together.
  int context_tokens = 0;
  // The number of tokens beyond which LongRoPE uses its other list; 0 for models with one list.
  int original_context_tokens = 0;
};

inline constexpr int kMaxEosTokenIds = 256;
inline constexpr size_t kMaxCacheSaltBytes = 256;
inline constexpr size_t kMaxTenantBytes = 256;
inline constexpr int32_t kMinPriority = -10;
inline constexpr int32_t kMaxPriority = 10;

// INVALID_ARGUMENT, naming the field as in phalanx.worker.v1.Submit, if any value of `request` is
// outside its range.
absl::Status ValidateRequest(const GenerationRequest& request, const EngineRequestLimits& limits);

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_REQUEST_H_
