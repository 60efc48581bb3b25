// How the engine tells what became of requests.
#ifndef PHALANX_WORKER_ENGINE_EVENT_SINK_H_
#define PHALANX_WORKER_ENGINE_EVENT_SINK_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "worker/engine/request.h"
#include "worker/step/step.h"

namespace phalanx {

enum class FinishReason {
  kEos,         // An end-of-sequence token was generated; it is the last of the tokens.
  kLength,      // max_new_tokens was reached.
  kScored,      // The whole prompt has been scored, and no token was wanted.
  kRepetition,  // The answer repeated itself.
};

struct RequestFinished {
  FinishReason reason = FinishReason::kLength;
  // From submission until the first step that worked on the request.
  absl::Duration queue;
  // From the beginning of that step until the first token, or until the prompt was scored.
  absl::Duration prefill;
  // From the first token to the last.
  absl::Duration decode;
};

// What one step brought about for one request, or several steps if the request wants its tokens so
// (GenerationOptions::stream_interval). The last event of a request has exactly one of
// `finished` and `error`, the others neither. A cancelled request has no last event.
struct RequestEvent {
  RequestId id{};
  // The step was the first that worked on the request.
  bool started = false;
  // Set with `started`: how many tokens of the prompt the prefix cache had, so that they were not
  // computed.
  int32_t cached_tokens = 0;
  // How many tokens earlier events had.
  int32_t first_token_index = 0;
  // Tokens that were generated, in order.
  std::vector<int32_t> token_ids;
  // Tokens that were guessed in the steps of token_ids, and how many of token_ids are among them
  // because they were guessed right. If they are of one step, these are the first ones.
  int32_t drafted_tokens = 0;
  int32_t accepted_tokens = 0;
  // How likely each of them was, if the request wanted to know.
  std::vector<DrawnLogProbs> drawn_log_probs;
  // Natural logarithms of the probabilities of prompt tokens, in order. The first prompt token has
  // none, because nothing precedes it; each event goes on where the one before stopped.
  std::vector<float> log_probs;
  std::optional<RequestFinished> finished;
  // DEADLINE_EXCEEDED, also ahead of the deadline if no first token can be there by then; INTERNAL
  // if the request's logits were not numbers, the status that the executor failed with, or
  // UNAVAILABLE after Engine::Stop. OK if the request has not failed.
  absl::Status error;
};

// How busy the engine is, the requests of all sessions together.
struct EngineLoad {
  int running_requests = 0;
  int waiting_requests = 0;
  // Blocks that requests hold. Those that are only kept in the prefix cache do not count: whoever
  // needs them gets them.
  int used_kv_blocks = 0;
  // Tokens of the requests that wait.
  int64_t waiting_tokens = 0;
};

// Receives the events of one session, on the engine thread. Must not block and must not destroy the
// session. May submit and cancel.
class EventSink {
 public:
  virtual ~EventSink() = default;

  // Called at most once a step. `events` is never empty, and is valid only during the call.
  virtual void OnStep(absl::Span<const RequestEvent> events, const EngineLoad& load) = 0;

  // Called once, when the engine has ended and all requests have had their last event. No call
  // follows. `status` is what the requests ended with.
  virtual void OnEngineEnded(const absl::Status& status) = 0;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_EVENT_SINK_H_
