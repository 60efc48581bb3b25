// What the coordinator and a worker group say to each other, free of gRPC and protobuf.
//
// The fields are those of phalanx/worker/v1/engine.proto, which documents them.
#ifndef PHALANX_COORDINATOR_ROUTING_GROUP_SESSION_H_
#define PHALANX_COORDINATOR_ROUTING_GROUP_SESSION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "model/generation/generation_options.h"
#include "model/generation/sampling.h"
#include "model/spec/long_rope.h"

namespace phalanx {

struct EngineConstraint {
  enum class Kind { kJsonSchema, kRegex, kChoices, kLark };
  enum class Begin { kAtOnce, kAfterThinkBlock, kInsideThinkBlock };
  Kind kind = Kind::kJsonSchema;
  std::string text;
  Begin begin = Begin::kAtOnce;
};

struct EngineRequest {
  // Given by GroupRegistry.
  uint64_t id = 0;
  // What the client knows the request by; for logs.
  std::string name;
  std::vector<int32_t> prompt_token_ids;
  int max_new_tokens = 0;
  std::vector<int32_t> eos_token_ids;
  Sampling sampling;
  uint64_t seed = 0;
  LongRopePolicy long_rope_policy = kDefaultLongRopePolicy;
  // Time until the caller's deadline.
  absl::Duration time_left = absl::InfiniteDuration();
  // If set, the prompt is scored. Without max_new_tokens nothing is generated then.
  bool score = false;
  std::string cache_salt = "";
  int32_t priority = 0;
  std::string tenant = "";
  GenerationOptions options = {};
  std::optional<EngineConstraint> constraint = std::nullopt;
};

struct EngineFinish {
  enum class Reason { kEos, kLength, kScored, kRepetition };
  Reason reason = Reason::kLength;
  // The sink of a request that moved gets this from Submit on, whichever groups the request went
  // to.
  absl::Duration queue = absl::ZeroDuration();
  absl::Duration prefill = absl::ZeroDuration();
  absl::Duration decode = absl::ZeroDuration();
};

// How likely a token was, and which ones were likeliest in its place.
struct TokenLogProbs {
  struct Token {
    int32_t id = 0;
    float log_prob = 0.0f;
  };
  float log_prob = 0.0f;
  std::vector<Token> top = {};
};

struct EngineEvent {
  uint64_t request_id = 0;
  // The group has taken the request in.
  bool accepted = false;
  // The group has begun to work on it.
  bool started = false;
  // With `started`: prompt tokens that the group had in its prefix cache.
  int cached_tokens = 0;
  // How many tokens earlier events had.
  int first_token_index = 0;
  absl::Span<const int32_t> token_ids = {};
  // Tokens that the group guessed, and how many of token_ids, from the first on, are among them.
  int drafted_tokens = 0;
  int accepted_tokens = 0;
  // Of each of token_ids, or empty if the request did not ask for them.
  std::vector<TokenLogProbs> token_log_probs = {};
  absl::Span<const float> log_probs = {};
  // At most one of `finished` and `error` is set, and ends the request.
  std::optional<EngineFinish> finished = std::nullopt;
  absl::Status error = absl::OkStatus();
};

// What a group promises of answers, the weakest first; see Determinism in inference.proto.
enum class Determinism { kUnknown, kFast, kStrict };

struct GroupHello {
  std::string model_name = "";
  std::string model_fingerprint = "";
  int context_tokens = 0;
  int world = 0;
  int total_kv_blocks = 0;
  std::string weights_digest = "";
  Determinism determinism = Determinism::kUnknown;
  std::string arithmetic = "";  // Backend::Arithmetic in kernels/ops.h.
  // Those of model/generation/engine_features.h, and others that this coordinator does not know.
  std::vector<std::string> features = {};
};

struct GroupLoad {
  int running_requests = 0;
  int waiting_requests = 0;
};

// One open session with a worker group. Thread-safe, never blocks. Once the session has ended,
// Submit and Cancel do nothing.
class GroupSession {
 public:
  virtual ~GroupSession() = default;

  virtual void Submit(const EngineRequest& request) = 0;
  virtual void Cancel(uint64_t request_id) = 0;
};

// Takes what comes back for one request: OnAccepted, OnStarted, any number of OnLogProbs if its
// prompt was to be scored, any number of OnTokens if tokens were wanted, then exactly one of
// OnFinished and OnFailed. OnFailed may also come first. Calls come one at a time, on a session's
// event thread, so they must not block. They may still come after a Cancel, if they were under way.
class GenerationSink {
 public:
  virtual ~GenerationSink() = default;

  // A worker group has accepted the request. Called once, even if the request moves to another
  // group.
  virtual void OnAccepted() = 0;
  // A worker group has begun to work on the request. Called once, after OnAccepted and before the
  // first OnTokens or OnLogProbs, even if the request moves to another group.
  virtual void OnStarted() = 0;
  // How many tokens of the prompt the group that works on it has in its prefix cache. Before that
  // group's first OnTokens; once more for each group that the request moves to after that.
  virtual void OnCachedTokens(int cached_tokens) = 0;
  // The group has guessed so many tokens, and the first `accepted` of those of the next OnTokens
  // are among them. Right before that OnTokens; not called if nothing was guessed.
  virtual void OnDraft(int drafted, int accepted) = 0;
  // `log_probs` are of these tokens, or empty if the request did not ask for them.
  virtual void OnTokens(absl::Span<const int32_t> token_ids,
                        absl::Span<const TokenLogProbs> log_probs) = 0;
  virtual void OnLogProbs(absl::Span<const float> log_probs) = 0;
  virtual void OnFinished(const EngineFinish& finish) = 0;
  virtual void OnFailed(const absl::Status& status) = 0;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ROUTING_GROUP_SESSION_H_
