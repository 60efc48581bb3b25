// What the engine does with the result of a step; the loop itself is in engine_loop.cc.
#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/log.h"
#include "kernels/sampling/sample.h"
#include "worker/engine/engine.h"

namespace phalanx {

void Engine::ApplyResult(const StepPlan& plan, const StepResult& result, absl::Time now) {
  // Results lie in the order of the chunks: num_draws() tokens and num_scores log-probabilities for
  // each chunk.
  size_t next_draw = 0;
  absl::Span<const float> log_probs = result.log_probs;
  for (const PlannedChunk& chunk : plan.chunks) {
    const size_t draw = std::exchange(next_draw, next_draw + chunk.num_draws());
    const absl::Span<const float> scores = log_probs.first(chunk.num_scores);
    log_probs.remove_prefix(chunk.num_scores);
    const auto it = requests_.find(chunk.id);
    // The request has ended since the step was planned.
    if (it == requests_.end()) continue;
    it->second.lost_steps = 0;
    if (!std::exchange(it->second.start_told, true)) {
      RequestEvent& event = AddEvent(it->second);
      event.started = true;
      event.cached_tokens = it->second.cached_tokens;
    }
    if (!scores.empty()) ApplyScores(chunk.id, scores, now);
    // Scores that are no numbers have ended the request.
    if (chunk.draws && requests_.contains(chunk.id)) ApplyDraws(chunk, result, draw, now);
  }
}

void Engine::ApplyDraws(const PlannedChunk& chunk, const StepResult& result, size_t first,
                        absl::Time now) {
  if (chunk.num_drafted > 0) {
    EventOfNextToken(requests_.at(chunk.id)).drafted_tokens += chunk.num_drafted;
    metrics_->drafted_tokens_total.Increment(chunk.num_drafted);
  }
  const bool told = !result.drawn_log_probs.empty();
  for (int i = 0; i <= chunk.num_accepted; ++i) {
    if (i < chunk.num_accepted) {
      ++EventOfNextToken(requests_.at(chunk.id)).accepted_tokens;
      metrics_->accepted_tokens_total.Increment();
    }
    const size_t draw = first + i;
    ApplyToken(chunk.id, result.tokens[draw], told ? &result.drawn_log_probs[draw] : nullptr, now);
    // The others would follow the end.
    if (!requests_.contains(chunk.id)) return;
  }
  // Only now, so that all tokens of a guess are told with it.
  Request& request = requests_.at(chunk.id);
  if (std::ssize(request.untold.token_ids) >= request.stream_interval) TellTokens(request);
}

void Engine::EndUnruled(SequenceId sequence, const absl::Status& status) {
  const Request& request = requests_.at(sequence);
  const bool constrained =
      request.filter != nullptr ||
      (request.compiling != nullptr && request.compiling->request.constraint.has_value());
  AddEvent(request).error = absl::Status(
      status.code(),
      absl::StrCat(constrained ? "constraint: " : "reasoning_limit: ", status.message()));
  EndRequest(sequence, status.code());
}

void Engine::EndWithoutNumbers(SequenceId sequence) {
  constexpr char kMessage[] =
      "the model produced logits that are not numbers (NaN or infinite): its weights are broken, "
      "or it does not bear this input, or the request forbids every token";
  // Broken weights break every request, and a line for each would flood the log.
  if (!told_of_bad_logits_) {
    LOG(ERROR) << kMessage << "; this is said once, phalanx_engine_requests_total counts INTERNAL";
    told_of_bad_logits_ = true;
  }
  AddEvent(requests_.at(sequence)).error = absl::InternalError(kMessage);
  EndRequest(sequence, absl::StatusCode::kInternal, /*sound=*/false);
}

void Engine::ApplyToken(SequenceId sequence, int32_t token, const DrawnLogProbs* log_probs,
                        absl::Time now) {
  Request& request = requests_.at(sequence);
  // A constraint that cannot go on allows no token, and then none is drawn.
  if (request.filter != nullptr && !request.filter->status().ok()) {
    return EndUnruled(sequence, absl::Status(request.filter->status()));
  }
  if (token == kernels::kNoToken) return EndWithoutNumbers(sequence);
  RequestEvent& event = EventOfNextToken(request);
  if (event.token_ids.empty()) event.first_token_index = request.generated;
  event.token_ids.push_back(token);
  if (request.log_probs && log_probs != nullptr) event.drawn_log_probs.push_back(*log_probs);
  ++request.generated;
  --request.tokens_left;
  metrics_->generation_tokens_total.Increment();
  if (!request.first_token) {
    request.first_token = now;
    metrics_->prompt_tokens_total.Increment(request.prompt_tokens);
    metrics_->time_to_first_token_seconds.Observe(absl::ToDoubleSeconds(now - request.submitted));
  }
  // An end-of-sequence token that is also the last one allowed counts as kEos.
  const std::vector<int32_t>& eos = request.eos_token_ids;
  const bool is_eos = std::find(eos.begin(), eos.end(), token) != eos.end();
  const bool repeats = request.repetition.has_value() && request.repetition->Add(token);
  if (!is_eos && !repeats && request.tokens_left > 0) return;
  FinishReason reason = FinishReason::kLength;
  if (is_eos) {
    reason = FinishReason::kEos;
  } else if (repeats) {
    reason = FinishReason::kRepetition;
  }
  AddEvent(request).finished = {.reason = reason,
                                .queue = *request.started - request.submitted,
                                .prefill = *request.first_token - *request.started,
                                .decode = now - *request.first_token};
  EndRequest(sequence, absl::StatusCode::kOk);
}

RequestEvent& Engine::EventOfNextToken(Request& request) {
  const bool waits = request.stream_interval > 1 && request.generated > 0;
  return waits ? request.untold : AddEvent(request);
}

void Engine::TellTokens(Request& request) {
  RequestEvent& untold = request.untold;
  if (untold.token_ids.empty() && untold.drafted_tokens == 0) return;
  RequestEvent& event = AddEvent(request);
  if (event.token_ids.empty()) event.first_token_index = untold.first_token_index;
  event.token_ids.insert(event.token_ids.end(), untold.token_ids.begin(), untold.token_ids.end());
  event.drawn_log_probs.insert(event.drawn_log_probs.end(),
                               std::make_move_iterator(untold.drawn_log_probs.begin()),
                               std::make_move_iterator(untold.drawn_log_probs.end()));
  untold.token_ids.clear();
  untold.drawn_log_probs.clear();
  event.drafted_tokens += std::exchange(untold.drafted_tokens, 0);
  event.accepted_tokens += std::exchange(untold.accepted_tokens, 0);
}

void Engine::ApplyScores(SequenceId sequence, absl::Span<const float> log_probs, absl::Time now) {
  const bool numbers = std::all_of(log_probs.begin(), log_probs.end(),
                                   [](float log_prob) { return std::isfinite(log_prob); });
  if (!numbers) return EndWithoutNumbers(sequence);
  Request& request = requests_.at(sequence);
  RequestEvent& event = AddEvent(request);
  event.log_probs.assign(log_probs.begin(), log_probs.end());
  request.scores_left -= static_cast<int32_t>(log_probs.size());
  if (request.scores_left > 0 || request.tokens_left > 0) return;
  metrics_->prompt_tokens_total.Increment(request.prompt_tokens);
  event.finished = {.reason = FinishReason::kScored,
                    .queue = *request.started - request.submitted,
                    .prefill = now - *request.started,
                    .decode = absl::ZeroDuration()};
  EndRequest(sequence, absl::StatusCode::kOk);
}

}  // namespace phalanx
