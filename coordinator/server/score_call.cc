#include "coordinator/server/score_call.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "coordinator/admission/validate.h"
#include "coordinator/server/raw_messages.h"

namespace phalanx {

absl::Status ScoreCall::Parse(const grpc::ByteBuffer& bytes) {
  RETURN_IF_ERROR(ReadRequest(bytes, environment_.limits.max_message_bytes(), &request_));
  return ValidateScore(request_, environment_.limits);
}

absl::StatusOr<std::vector<EngineRequest>> ScoreCall::Prepare() {
  std::vector<EngineRequest> requests(1);
  EngineRequest& engine_request = requests.front();
  std::vector<int32_t>& tokens = engine_request.prompt_token_ids;
  if (request_.has_tokens()) {
    tokens.assign(request_.tokens().ids().begin(), request_.tokens().ids().end());
  } else {
    ASSIGN_OR_RETURN(
        EncodedPrompt encoded,
        environment_.text->EncodeText(request_.text(), {.allow_special = request_.allow_special()},
                                      cancelled()));
    tokens = std::move(encoded.token_ids);
  }
  RETURN_IF_ERROR(
      CheckScoreTokens(static_cast<int64_t>(tokens.size()), CurrentLimits(environment_)));
  engine_request.score = true;
  engine_request.time_left = TimeLeft();
  return requests;
}

void ScoreCall::Dispatching(const std::vector<EngineRequest>& requests) {
  const EngineRequest& request = requests.front();
  // Swapped with an empty message, since Clear would keep the memory of a long text.
  v1::ScoreRequest().Swap(&request_);
  // The token at position 0 has no log-probability: nothing precedes it.
  delta_.set_position(1);
  started_.emplace();
  started_->set_request_id(id_.text);
  started_->set_model(environment_.limits.model_name);
  started_->mutable_token_ids()->Add(request.prompt_token_ids.begin(),
                                     request.prompt_token_ids.end());
}

void ScoreCall::OnLogProbs(int index, absl::Span<const float> log_probs) {
  MutexLock lock(&mutex_);
  if (!Listening(index)) return;
  scored_tokens_ += static_cast<int>(log_probs.size());
  delta_.mutable_log_probs()->Add(log_probs.begin(), log_probs.end());
  Pump();
}

void ScoreCall::OnFinished(int index, const EngineFinish& finish) {
  {
    MutexLock lock(&mutex_);
    if (!Listening(index)) return;
    EngineIsDone(index);
    // A worker group is another program, so it is checked that no score is missing.
    if (scored_tokens_ == prompt_tokens_ - 1) {
      v1::ScoreFinished& finished = finished_.emplace();
      finished.set_scored_tokens(scored_tokens_);
      finished.set_queue_seconds(
          absl::ToDoubleSeconds(dispatched_at_ - arrived_at_ + finish.queue));
      finished.set_compute_seconds(absl::ToDoubleSeconds(finish.prefill + finish.decode));
      Pump();
      return;
    }
  }
  End(absl::InternalError("the worker group did not score every token"));
}

std::optional<StreamCall::Event> ScoreCall::TakeEvent() {
  v1::ScoreEvent event;
  if (started_.has_value()) {
    *event.mutable_started() = *std::exchange(started_, std::nullopt);
  } else if (!delta_.log_probs().empty()) {
    // The next ScoreDelta goes on where this one stops.
    const int next_position = delta_.position() + delta_.log_probs_size();
    event.mutable_delta()->Swap(&delta_);
    delta_.Clear();
    delta_.set_position(next_position);
  } else if (finished_.has_value()) {
    *event.mutable_finished() = *std::exchange(finished_, std::nullopt);
  } else {
    return std::nullopt;
  }
  return Event{SerializeMessage(event), event.has_finished()};
}

std::string ScoreCall::SettleKind(const absl::Status& status, absl::Duration total) {
  return absl::StrCat("prompt_tokens=", prompt_tokens_, " scored_tokens=", scored_tokens_);
}

}  // namespace phalanx
