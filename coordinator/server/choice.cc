#include "coordinator/server/choice.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/algorithm/container.h"

namespace phalanx {
namespace {

v1::FinishReason ReasonOf(const EngineFinish& finish) {
  switch (finish.reason) {
    case EngineFinish::Reason::kEos:
      return v1::FINISH_REASON_STOP;
    case EngineFinish::Reason::kRepetition:
      return v1::FINISH_REASON_REPETITION;
    // The registry has no answer end as a score does.
    case EngineFinish::Reason::kScored:
    case EngineFinish::Reason::kLength:
      break;
  }
  return v1::FINISH_REASON_LENGTH;
}

}  // namespace

void Choice::NoteDraft(int drafted, int accepted) {
  drafted_tokens_ += drafted;
  accepted_next_ = accepted;
}

AnswerText::Piece Choice::Append(absl::Span<const int32_t> token_ids, absl::Time now) {
  AnswerText::Piece piece = text_.Append(token_ids);
  // What comes behind a stop string is no part of the answer.
  accepted_tokens_ += std::min(std::exchange(accepted_next_, 0), piece.num_tokens);
  CountTokens(piece.num_tokens, now);
  if (piece.num_tokens > 0) last_token_ = token_ids[piece.num_tokens - 1];
  return piece;
}

void Choice::CountTokens(int num_tokens, absl::Time now) {
  // Tokens that come together share the time since the last ones. The first token of all has no gap
  // before it.
  int later_tokens = num_tokens;
  if (completion_tokens_ == 0) {
    first_token_at_ = last_token_at_ = now;
    --later_tokens;
  }
  for (int i = 0; i < later_tokens; ++i) {
    metrics_.inter_token_latency.Observe(
        absl::ToDoubleSeconds((now - last_token_at_) / later_tokens));
  }
  last_token_at_ = now;
  completion_tokens_ += num_tokens;
  metrics_.generation_tokens.Increment(num_tokens);
}

v1::Finished Choice::Finished(const EngineFinish* finish, int prompt_tokens, absl::Time arrived_at,
                              absl::Time dispatched_at) const {
  v1::Finished finished;
  finished.set_reason(finish == nullptr ? v1::FINISH_REASON_STOP : ReasonOf(*finish));
  if (finished.reason() == v1::FINISH_REASON_LENGTH && text_.in_reasoning()) {
    finished.set_reason(v1::FINISH_REASON_REASONING_LENGTH);
  }
  // Also if the engine finished by itself and the text that was held back holds a stop string.
  if (const std::optional<std::string>& stop = text_.matched_stop(); stop.has_value()) {
    finished.set_reason(v1::FINISH_REASON_STOP);
    finished.set_stop(*stop);
  } else if (finished.reason() == v1::FINISH_REASON_STOP && last_token_.has_value() &&
             absl::c_linear_search(stop_token_ids_, *last_token_)) {
    finished.set_stop_token_id(*last_token_);
  }
  const bool by_model = !finished.has_stop() && !finished.has_stop_token_id();
  if (by_model && finished.reason() == v1::FINISH_REASON_STOP && text_.tool_calls() > 0) {
    finished.set_reason(v1::FINISH_REASON_TOOL_CALLS);
  }
  v1::Usage& usage = *finished.mutable_usage();
  usage.set_prompt_tokens(prompt_tokens);
  usage.set_completion_tokens(completion_tokens_);
  usage.set_reasoning_tokens(text_.reasoning_tokens());
  usage.set_cached_tokens(cached_tokens_);
  usage.set_drafted_tokens(drafted_tokens_);
  usage.set_accepted_tokens(accepted_tokens_);
  usage.set_reasoning_closed(text_.reasoning_closed());
  v1::Timings& timings = *finished.mutable_timings();
  timings = OwnTimings(arrived_at, dispatched_at);
  if (finish != nullptr) {
    timings.set_queue_seconds(absl::ToDoubleSeconds(dispatched_at - arrived_at + finish->queue));
    timings.set_prefill_seconds(absl::ToDoubleSeconds(finish->prefill));
    timings.set_decode_seconds(absl::ToDoubleSeconds(finish->decode));
  }
  return finished;
}

v1::Timings Choice::OwnTimings(absl::Time arrived_at, absl::Time dispatched_at) const {
  v1::Timings timings;
  timings.set_queue_seconds(absl::ToDoubleSeconds(dispatched_at - arrived_at));
  if (completion_tokens_ == 0) return timings;
  timings.set_prefill_seconds(absl::ToDoubleSeconds(first_token_at_ - dispatched_at));
  timings.set_time_to_first_token_seconds(absl::ToDoubleSeconds(first_token_at_ - arrived_at));
  timings.set_decode_seconds(absl::ToDoubleSeconds(last_token_at_ - first_token_at_));
  return timings;
}

}  // namespace phalanx
