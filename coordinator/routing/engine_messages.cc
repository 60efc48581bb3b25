#include "coordinator/routing/engine_messages.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/message_fields.h"
#include "base/retry_after.h"

namespace phalanx {
namespace {

// On the wire 0 means no deadline, so one that has passed is sent as this.
constexpr double kLeastDeadlineSeconds = 1e-3;

absl::Duration SecondsFrom(double seconds) {
  return std::isfinite(seconds) && seconds > 0 ? absl::Seconds(seconds) : absl::ZeroDuration();
}

absl::Status ErrorFrom(const worker::v1::EngineError& error) {
  // OK is not known either: as an error it makes no sense.
  const bool known = error.code() >= static_cast<int>(absl::StatusCode::kCancelled) &&
                     error.code() <= static_cast<int>(absl::StatusCode::kUnauthenticated);
  const absl::Status status(
      known ? static_cast<absl::StatusCode>(error.code()) : absl::StatusCode::kInternal,
      error.message());
  const absl::Duration retry_after = SecondsFrom(error.retry_after_seconds());
  return retry_after > absl::ZeroDuration() ? WithRetryAfter(status, retry_after) : status;
}

std::optional<EngineFinish::Reason> ReasonFrom(worker::v1::EngineFinished::Reason reason) {
  switch (reason) {
    case worker::v1::EngineFinished::REASON_EOS:
      return EngineFinish::Reason::kEos;
    case worker::v1::EngineFinished::REASON_LENGTH:
      return EngineFinish::Reason::kLength;
    case worker::v1::EngineFinished::REASON_SCORED:
      return EngineFinish::Reason::kScored;
    case worker::v1::EngineFinished::REASON_REPETITION:
      return EngineFinish::Reason::kRepetition;
    default:
      return std::nullopt;
  }
}

EngineFinish FinishFrom(EngineFinish::Reason reason, const worker::v1::EngineFinished& finished) {
  return {.reason = reason,
          .queue = SecondsFrom(finished.queue_seconds()),
          .prefill = SecondsFrom(finished.prefill_seconds()),
          .decode = SecondsFrom(finished.decode_seconds())};
}

// Two arrays of different lengths, which no worker of this release sends, count as the shorter one.
TokenLogProbs LogProbsFrom(const worker::v1::DrawnLogProb& message) {
  TokenLogProbs log_probs = {.log_prob = message.log_prob()};
  const int top = std::min(message.top_token_ids_size(), message.top_log_probs_size());
  for (int i = 0; i < top; ++i) {
    log_probs.top.push_back({message.top_token_ids(i), message.top_log_probs(i)});
  }
  return log_probs;
}

void SetOptions(const GenerationOptions& options, worker::v1::Submit& submit) {
  for (const auto& [token_id, bias] : options.logit_bias) {
    worker::v1::LogitBias& message = *submit.add_logit_bias();
    message.set_token_id(token_id);
    message.set_bias(bias);
  }
  submit.set_min_new_tokens(options.min_new_tokens);
  if (options.log_probs.has_value()) submit.set_log_probs(*options.log_probs);
  if (options.max_draft_tokens.has_value()) submit.set_max_draft_tokens(*options.max_draft_tokens);
  if (options.stream_interval != 1) submit.set_stream_interval(options.stream_interval);
  if (options.repetition_limit.has_value()) {
    worker::v1::RepetitionLimit& limit = *submit.mutable_repetition_limit();
    limit.set_times(options.repetition_limit->times);
    limit.set_max_period_tokens(options.repetition_limit->max_period_tokens);
    limit.set_min_tokens(options.repetition_limit->min_tokens);
  }
  if (options.reasoning_limit.has_value()) {
    const ReasoningLimit& limit = *options.reasoning_limit;
    worker::v1::ReasoningLimit& message = *submit.mutable_reasoning_limit();
    message.set_max_tokens(limit.max_tokens);
    message.mutable_close_token_ids()->Add(limit.close_token_ids.begin(),
                                           limit.close_token_ids.end());
    message.set_opened_by_prompt(limit.opened_by_prompt);
  }
}

EngineEvent EventFrom(const worker::v1::RequestEvent& message) {
  EngineEvent event;
  event.request_id = message.request_id();
  event.accepted = message.accepted();
  event.started = message.started();
  event.cached_tokens = std::max(0, message.cached_tokens());
  event.first_token_index = message.first_token_index();
  event.token_ids = message.token_ids();
  event.drafted_tokens = std::max(0, message.drafted_tokens());
  event.accepted_tokens = std::clamp(message.accepted_tokens(), 0, event.drafted_tokens);
  for (const worker::v1::DrawnLogProb& log_prob : message.drawn_log_probs()) {
    event.token_log_probs.push_back(LogProbsFrom(log_prob));
  }
  event.log_probs = message.log_probs();
  if (message.has_error()) {
    event.error = ErrorFrom(message.error());
  } else if (message.has_finished()) {
    const auto reason = ReasonFrom(message.finished().reason());
    if (reason.has_value()) {
      event.finished = FinishFrom(*reason, message.finished());
    } else {
      event.error = absl::InternalError("the worker group ended a request without a reason");
    }
  }
  return event;
}

// A level that this coordinator does not know is no promise to it.
Determinism DeterminismFrom(worker::v1::Determinism level) {
  switch (level) {
    case worker::v1::DETERMINISM_STRICT:
      return Determinism::kStrict;
    case worker::v1::DETERMINISM_FAST:
      return Determinism::kFast;
    default:
      return Determinism::kUnknown;
  }
}

void SetConstraint(const EngineConstraint& constraint, worker::v1::Constraint* message) {
  using Message = worker::v1::Constraint;
  switch (constraint.kind) {
    case EngineConstraint::Kind::kJsonSchema:
      message->set_kind(Message::KIND_JSON_SCHEMA);
      break;
    case EngineConstraint::Kind::kRegex:
      message->set_kind(Message::KIND_REGEX);
      break;
    case EngineConstraint::Kind::kChoices:
      message->set_kind(Message::KIND_CHOICES);
      break;
    case EngineConstraint::Kind::kLark:
      message->set_kind(Message::KIND_LARK);
      break;
  }
  message->set_text(constraint.text);
  switch (constraint.begin) {
    case EngineConstraint::Begin::kAtOnce:
      message->set_begin(Message::BEGIN_AT_ONCE);
      break;
    case EngineConstraint::Begin::kAfterThinkBlock:
      message->set_begin(Message::BEGIN_AFTER_THINK_BLOCK);
      break;
    case EngineConstraint::Begin::kInsideThinkBlock:
      message->set_begin(Message::BEGIN_INSIDE_THINK_BLOCK);
      break;
  }
}

}  // namespace

worker::v1::SessionRequest SubmitMessage(const EngineRequest& request) {
  worker::v1::SessionRequest message;
  worker::v1::Submit& submit = *message.mutable_submit();
  submit.set_request_id(request.id);
  submit.mutable_prompt_token_ids()->Add(request.prompt_token_ids.begin(),
                                         request.prompt_token_ids.end());
  submit.set_max_new_tokens(request.max_new_tokens);
  submit.mutable_eos_token_ids()->Add(request.eos_token_ids.begin(), request.eos_token_ids.end());
  VisitSampling(request.sampling, [&](const SamplingParameter& parameter, auto value) {
    SetField(parameter.name, value, &submit);
  });
  submit.set_seed(request.seed);
  submit.set_score(request.score);
  submit.set_cache_salt(request.cache_salt);
  submit.set_priority(request.priority);
  submit.set_tenant(request.tenant);
  SetOptions(request.options, submit);
  if (request.constraint.has_value()) {
    SetConstraint(*request.constraint, submit.mutable_constraint());
  }
  submit.set_long_rope_policy(request.long_rope_policy == LongRopePolicy::kReference
                                  ? worker::v1::LONG_ROPE_POLICY_REFERENCE
                                  : worker::v1::LONG_ROPE_POLICY_ADMISSION);
  if (request.time_left != absl::InfiniteDuration()) {
    submit.set_deadline_seconds(
        std::max(kLeastDeadlineSeconds, absl::ToDoubleSeconds(request.time_left)));
  }
  return message;
}

worker::v1::SessionRequest CancelMessage(uint64_t request_id) {
  worker::v1::SessionRequest message;
  message.mutable_cancel()->set_request_id(request_id);
  return message;
}

GroupHello HelloFrom(const worker::v1::Hello& hello) {
  return {.model_name = hello.model_name(),
          .model_fingerprint = hello.model_fingerprint(),
          .context_tokens = hello.context_tokens(),
          .world = hello.world(),
          .total_kv_blocks = hello.total_kv_blocks(),
          .weights_digest = hello.weights_digest(),
          .determinism = DeterminismFrom(hello.determinism()),
          .arithmetic = hello.arithmetic(),
          .features = {hello.features().begin(), hello.features().end()}};
}

std::vector<EngineEvent> EventsFrom(const worker::v1::StepEvents& step) {
  std::vector<EngineEvent> events;
  events.reserve(step.requests_size());
  for (const worker::v1::RequestEvent& message : step.requests()) {
    events.push_back(EventFrom(message));
  }
  return events;
}

GroupLoad LoadFrom(const worker::v1::Load& load) {
  return {.running_requests = std::max(0, load.running_requests()),
          .waiting_requests = std::max(0, load.waiting_requests())};
}

}  // namespace phalanx
