#include "worker/server/engine_messages.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/message_fields.h"
#include "base/retry_after.h"
#include "base/status.h"

namespace phalanx {
namespace {

void SetError(const absl::Status& status, worker::v1::EngineError* error) {
  error->set_code(static_cast<int>(status.code()));
  error->set_message(std::string(status.message()));
  if (const auto retry_after = RetryAfterOf(status); retry_after.has_value()) {
    error->set_retry_after_seconds(absl::ToDoubleSeconds(*retry_after));
  }
}

worker::v1::EngineFinished::Reason ReasonOf(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEos:
      return worker::v1::EngineFinished::REASON_EOS;
    case FinishReason::kLength:
      return worker::v1::EngineFinished::REASON_LENGTH;
    case FinishReason::kScored:
      return worker::v1::EngineFinished::REASON_SCORED;
    case FinishReason::kRepetition:
      return worker::v1::EngineFinished::REASON_REPETITION;
  }
  return worker::v1::EngineFinished::REASON_UNSPECIFIED;
}

GenerationOptions OptionsFrom(const worker::v1::Submit& submit) {
  GenerationOptions options;
  for (const worker::v1::LogitBias& bias : submit.logit_bias()) {
    options.logit_bias.push_back({bias.token_id(), bias.bias()});
  }
  options.min_new_tokens = submit.min_new_tokens();
  if (submit.has_log_probs()) options.log_probs = submit.log_probs();
  if (submit.has_max_draft_tokens()) options.max_draft_tokens = submit.max_draft_tokens();
  if (submit.has_stream_interval()) options.stream_interval = submit.stream_interval();
  if (submit.has_repetition_limit()) {
    const worker::v1::RepetitionLimit& limit = submit.repetition_limit();
    options.repetition_limit = {.times = limit.times(),
                                .max_period_tokens = limit.max_period_tokens(),
                                .min_tokens = limit.min_tokens()};
  }
  if (submit.has_reasoning_limit()) {
    const worker::v1::ReasoningLimit& limit = submit.reasoning_limit();
    options.reasoning_limit = {
        .max_tokens = limit.max_tokens(),
        .close_token_ids = {limit.close_token_ids().begin(), limit.close_token_ids().end()},
        .opened_by_prompt = limit.opened_by_prompt()};
  }
  return options;
}

void SetLogProbs(const DrawnLogProbs& log_probs, worker::v1::DrawnLogProb* message) {
  message->set_log_prob(log_probs.log_prob);
  for (const DrawnLogProbs::Token& token : log_probs.top) {
    message->add_top_token_ids(token.id);
    message->add_top_log_probs(token.log_prob);
  }
}

void SetFinished(const RequestFinished& finished, worker::v1::EngineFinished* message) {
  message->set_reason(ReasonOf(finished.reason));
  message->set_queue_seconds(absl::ToDoubleSeconds(finished.queue));
  message->set_prefill_seconds(absl::ToDoubleSeconds(finished.prefill));
  message->set_decode_seconds(absl::ToDoubleSeconds(finished.decode));
}

void SetLoad(const EngineLoad& load, worker::v1::Load* message) {
  message->set_running_requests(load.running_requests);
  message->set_waiting_requests(load.waiting_requests);
  message->set_used_kv_blocks(load.used_kv_blocks);
  message->set_waiting_tokens(load.waiting_tokens);
}

absl::StatusOr<RequestConstraint> ToConstraint(const worker::v1::Constraint& message) {
  RequestConstraint constraint;
  constraint.source.text = message.text();
  switch (message.kind()) {
    case worker::v1::Constraint::KIND_JSON_SCHEMA:
      constraint.source.kind = ConstraintKind::kJsonSchema;
      break;
    case worker::v1::Constraint::KIND_REGEX:
      constraint.source.kind = ConstraintKind::kRegex;
      break;
    case worker::v1::Constraint::KIND_CHOICES:
      constraint.source.kind = ConstraintKind::kChoices;
      break;
    case worker::v1::Constraint::KIND_LARK:
      constraint.source.kind = ConstraintKind::kLark;
      break;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("constraint.kind ", static_cast<int>(message.kind()), " is not known"));
  }
  switch (message.begin()) {
    case worker::v1::Constraint::BEGIN_AT_ONCE:
      constraint.begin = AnswerBegin::kAtOnce;
      break;
    case worker::v1::Constraint::BEGIN_AFTER_THINK_BLOCK:
      constraint.begin = AnswerBegin::kAfterThinkBlock;
      break;
    case worker::v1::Constraint::BEGIN_INSIDE_THINK_BLOCK:
      constraint.begin = AnswerBegin::kInsideThinkBlock;
      break;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("constraint.begin ", static_cast<int>(message.begin()), " is not known"));
  }
  return constraint;
}

}  // namespace

absl::StatusOr<GenerationRequest> ToGenerationRequest(const worker::v1::Submit& submit) {
  const double deadline = submit.deadline_seconds();
  if (!std::isfinite(deadline) || deadline < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("deadline_seconds is ", deadline, "; must be finite and 0 or more"));
  }
  GenerationRequest request;
  request.prompt_token_ids.assign(submit.prompt_token_ids().begin(),
                                  submit.prompt_token_ids().end());
  request.max_new_tokens = submit.max_new_tokens();
  request.eos_token_ids.assign(submit.eos_token_ids().begin(), submit.eos_token_ids().end());
  VisitSampling(request.sampling, [&](const SamplingParameter& parameter, auto& value) {
    GetField(submit, parameter.name, &value);
  });
  request.seed = submit.seed();
  request.long_rope_policy = submit.long_rope_policy() == worker::v1::LONG_ROPE_POLICY_REFERENCE
                                 ? LongRopePolicy::kReference
                                 : LongRopePolicy::kAdmission;
  request.score = submit.score();
  request.cache_salt = submit.cache_salt();
  request.options = OptionsFrom(submit);
  request.priority = submit.priority();
  request.tenant = submit.tenant();
  if (submit.has_constraint()) {
    ASSIGN_OR_RETURN(request.constraint, ToConstraint(submit.constraint()));
  }
  // 0, as in a field that is not set, is no deadline.
  if (deadline > 0) request.timeout = absl::Seconds(deadline);
  return request;
}

worker::v1::SessionResponse ToStepEvents(absl::Span<const RequestEvent> events,
                                         const EngineLoad& load) {
  worker::v1::SessionResponse response;
  worker::v1::StepEvents* const step = response.mutable_step();
  for (const RequestEvent& event : events) {
    worker::v1::RequestEvent* const message = step->add_requests();
    message->set_request_id(static_cast<uint64_t>(event.id));
    message->set_started(event.started);
    message->set_cached_tokens(event.cached_tokens);
    message->mutable_token_ids()->Add(event.token_ids.begin(), event.token_ids.end());
    message->set_first_token_index(event.first_token_index);
    message->set_drafted_tokens(event.drafted_tokens);
    message->set_accepted_tokens(event.accepted_tokens);
    for (const DrawnLogProbs& log_probs : event.drawn_log_probs) {
      SetLogProbs(log_probs, message->add_drawn_log_probs());
    }
    message->mutable_log_probs()->Add(event.log_probs.begin(), event.log_probs.end());
    if (event.finished.has_value()) SetFinished(*event.finished, message->mutable_finished());
    if (!event.error.ok()) SetError(event.error, message->mutable_error());
  }
  SetLoad(load, step->mutable_load());
  return response;
}

worker::v1::SessionResponse ToAcceptance(RequestId id, const EngineLoad& load) {
  worker::v1::SessionResponse response;
  worker::v1::RequestEvent* const event = response.mutable_step()->add_requests();
  event->set_request_id(static_cast<uint64_t>(id));
  event->set_accepted(true);
  SetLoad(load, response.mutable_step()->mutable_load());
  return response;
}

worker::v1::SessionResponse ToRefusal(RequestId id, const absl::Status& status,
                                      const EngineLoad& load) {
  RequestEvent event;
  event.id = id;
  event.error = status;
  return ToStepEvents(absl::MakeConstSpan(&event, 1), load);
}

}  // namespace phalanx
