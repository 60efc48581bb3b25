#include "coordinator/server/generate_call.h"

#include <grpc/support/time.h>

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/log.h"
#include "base/status.h"
#include "coordinator/admission/validate.h"
#include "coordinator/server/prompt.h"
#include "coordinator/server/raw_messages.h"
#include "coordinator/server/request_id.h"

namespace phalanx {
namespace {

v1::FinishReason ReasonOf(const EngineFinish& finish) {
  return finish.reason == EngineFinish::Reason::kEos ? v1::FINISH_REASON_STOP
                                                     : v1::FINISH_REASON_LENGTH;
}

}  // namespace

grpc::ServerWriteReactor<grpc::ByteBuffer>* GenerateCall::Start(
    const ServingEnvironment* environment, grpc::CallbackServerContext* context,
    const grpc::ByteBuffer* bytes) {
  const auto call = std::make_shared<GenerateCall>(environment, context);
  call->self_ = call;
  call->Arrive(*bytes);
  return call.get();
}

GenerateCall::GenerateCall(const ServingEnvironment* environment,
                           grpc::CallbackServerContext* context)
    : environment_(*environment),
      context_(context),
      id_(MakeRequestId()),
      arrived_at_(environment->clock->Now()),
      deadline_(arrived_at_ + TimeToDeadline(*context)) {}

void GenerateCall::Arrive(const grpc::ByteBuffer& bytes) {
  environment_.metrics->requests_waiting.Increment();
  absl::Status status = Admit(bytes);
  if (status.ok() && request_.has_tokens()) {
    status = Dispatch({request_.tokens().ids().begin(), request_.tokens().ids().end()});
  } else if (status.ok()) {
    status = environment_.text_pool->Submit([call = shared_from_this()] { call->Encode(); });
  }
  if (!status.ok()) End(status);
}

absl::Status GenerateCall::Admit(const grpc::ByteBuffer& bytes) {
  absl::StatusOr<RequestGate::Ticket> ticket = environment_.gate->Enter();
  if (!ticket.ok()) return ticket.status();
  ticket_.emplace(*std::move(ticket));
  if (TimeLeft() <= absl::ZeroDuration()) {
    return absl::DeadlineExceededError("the deadline had passed when the request arrived");
  }
  RETURN_IF_ERROR(ParseMessage(bytes, &request_));
  return ValidateGenerate(request_, environment_.limits);
}

void GenerateCall::Encode() {
  if (Ended()) return;
  absl::StatusOr<EncodedPrompt> prompt = EncodePrompt(*environment_.text, request_);
  const absl::Status status =
      prompt.ok() ? Dispatch(std::move(prompt->token_ids)) : prompt.status();
  if (!status.ok()) End(status);
}

absl::Status GenerateCall::Dispatch(std::vector<int32_t> prompt_token_ids) {
  const int prompt_tokens = static_cast<int>(prompt_token_ids.size());
  ASSIGN_OR_RETURN(
      const int max_new_tokens,
      ResolveMaxNewTokens(
          prompt_tokens,
          request_.has_max_new_tokens() ? std::optional(request_.max_new_tokens()) : std::nullopt,
          CurrentLimits(environment_)));
  const EngineRequest engine_request =
      MakeEngineRequest(std::move(prompt_token_ids), max_new_tokens);
  {
    MutexLock lock(&mutex_);
    if (ended_) return absl::OkStatus();
    decoder_ = environment_.text->NewAnswerDecoder();
    prompt_tokens_ = prompt_tokens;
    dispatched_at_ = environment_.clock->Now();
  }
  // Tokens may come from here on; the buffer keeps them until Started is in it.
  ASSIGN_OR_RETURN(const uint64_t engine_id,
                   environment_.groups->Submit(engine_request, shared_from_this()));
  // A long prompt need not stay for as long as its answer.
  v1::GenerateRequest().Swap(&request_);
  {
    MutexLock lock(&mutex_);
    if (!ended_) {
      if (!engine_done_) engine_id_ = engine_id;
      running_ = true;
      environment_.metrics->requests_waiting.Decrement();
      environment_.metrics->requests_running.Increment();
      environment_.metrics->prompt_tokens.Increment(prompt_tokens);
      buffer_.Start(MakeStarted(id_, environment_.limits.model_name, engine_request));
      Pump();
      return absl::OkStatus();
    }
  }
  environment_.groups->Cancel(engine_id);
  return absl::OkStatus();
}

EngineRequest GenerateCall::MakeEngineRequest(std::vector<int32_t> prompt_token_ids,
                                              int max_new_tokens) {
  const v1::Sampling& sampling = request_.sampling();
  const GenerationDefaults& defaults = environment_.model.defaults;
  EngineRequest engine_request;
  engine_request.prompt_token_ids = std::move(prompt_token_ids);
  engine_request.max_new_tokens = max_new_tokens;
  if (!request_.ignore_eos()) engine_request.eos_token_ids = environment_.model.eos_token_ids;
  engine_request.temperature =
      sampling.has_temperature() ? sampling.temperature() : defaults.temperature;
  engine_request.top_k = sampling.has_top_k() ? sampling.top_k() : defaults.top_k;
  engine_request.top_p = sampling.has_top_p() ? sampling.top_p() : defaults.top_p;
  engine_request.seed = sampling.has_seed() ? sampling.seed() : RandomBits64();
  engine_request.time_left = TimeLeft();
  return engine_request;
}

void GenerateCall::OnTokens(absl::Span<const int32_t> token_ids) {
  {
    MutexLock lock(&mutex_);
    if (ended_) return;
    CountTokens(static_cast<int>(token_ids.size()));
    buffer_.Append(token_ids, decoder_->Append(token_ids));
    Pump();
    if (buffer_.buffered_bytes() <= environment_.answer.max_buffered_bytes) return;
  }
  End(absl::ResourceExhaustedError(absl::StrCat("the client left more than ",
                                                environment_.answer.max_buffered_bytes,
                                                " bytes of its answer unread")),
      /*abandon_write=*/true);
}

void GenerateCall::CountTokens(int num_tokens) {
  const absl::Time now = environment_.clock->Now();
  int later_tokens = num_tokens;
  if (completion_tokens_ == 0) {
    first_token_at_ = last_token_at_ = now;
    environment_.metrics->time_to_first_token.Observe(absl::ToDoubleSeconds(now - arrived_at_));
    --later_tokens;
  }
  for (int i = 0; i < later_tokens; ++i) {
    environment_.metrics->inter_token_latency.Observe(
        absl::ToDoubleSeconds((now - last_token_at_) / later_tokens));
  }
  last_token_at_ = now;
  completion_tokens_ += num_tokens;
  environment_.metrics->generation_tokens.Increment(num_tokens);
}

void GenerateCall::OnFinished(const EngineFinish& finish) {
  MutexLock lock(&mutex_);
  engine_done_ = true;
  engine_id_.reset();
  if (ended_) return;
  buffer_.Append({}, decoder_->Finish());
  v1::Finished finished;
  finished.set_reason(ReasonOf(finish));
  finished.mutable_usage()->set_prompt_tokens(prompt_tokens_);
  finished.mutable_usage()->set_completion_tokens(completion_tokens_);
  v1::Timings& timings = *finished.mutable_timings();
  timings.set_queue_seconds(absl::ToDoubleSeconds(dispatched_at_ - arrived_at_ + finish.queue));
  timings.set_prefill_seconds(absl::ToDoubleSeconds(finish.prefill));
  timings.set_time_to_first_token_seconds(
      completion_tokens_ > 0 ? absl::ToDoubleSeconds(first_token_at_ - arrived_at_) : 0.0);
  timings.set_decode_seconds(absl::ToDoubleSeconds(finish.decode));
  buffer_.Finish(std::move(finished));
  Pump();
}

void GenerateCall::Pump() {
  if (writing_ || ended_) return;
  const std::optional<v1::GenerateEvent> event = buffer_.Take();
  if (!event.has_value()) return;
  outgoing_ = SerializeMessage(*event);
  writing_ = true;
  WatchWrite();
  if (!event->has_finished()) {
    StartWrite(&outgoing_);
    return;
  }
  ended_ = true;
  Settle(absl::OkStatus());
  StartWriteAndFinish(&outgoing_, grpc::WriteOptions(), grpc::Status::OK);
}

void GenerateCall::OnWriteDone(bool ok) {
  MutexLock lock(&mutex_);
  writing_ = false;
  if (ended_) return FinishIfIdle();
  // A write fails only if the call was cancelled, which OnCancel deals with.
  if (ok) Pump();
}

void GenerateCall::OnCancel() {
  // The client's own timer may be first: gRPC rounds the timeout that it sends up, by at most 1 %.
  const absl::Duration rounding = absl::Milliseconds(10) + (deadline_ - arrived_at_) / 100;
  End(deadline_ != absl::InfiniteFuture() && TimeLeft() <= rounding
          ? absl::DeadlineExceededError("the deadline passed")
          : absl::CancelledError("the client cancelled or went away"));
}

void GenerateCall::OnDone() {
  // Last, after the ticket: what is below the server may go once all tickets are back.
  const std::shared_ptr<GenerateCall> self = std::move(self_);
  // An alarm keeps its callback, and so this object, until it is destroyed itself.
  std::unique_ptr<grpc::Alarm> alarm;
  {
    MutexLock lock(&mutex_);
    done_ = true;
    alarm = std::move(alarm_);
    decoder_.reset();
  }
  alarm.reset();
  ticket_.reset();
}

void GenerateCall::End(const absl::Status& status, bool abandon_write) {
  std::optional<uint64_t> engine_id;
  {
    MutexLock lock(&mutex_);
    if (ended_) return;
    ended_ = true;
    engine_id = std::exchange(engine_id_, std::nullopt);
    Settle(status);
    if (abandon_write) context_->TryCancel();
  }
  if (engine_id.has_value()) environment_.groups->Cancel(*engine_id);
  // Not before: once the call is finished, the environment may go.
  MutexLock lock(&mutex_);
  if (absl::IsResourceExhausted(status)) AddRetryHint(context_);
  final_status_ = status;
  FinishIfIdle();
}

void GenerateCall::FinishIfIdle() {
  if (writing_ || !final_status_.has_value()) return;
  Finish(ToGrpcStatus(*std::exchange(final_status_, std::nullopt)));
}

void GenerateCall::Settle(const absl::Status& status) {
  CoordinatorMetrics& metrics = *environment_.metrics;
  (running_ ? metrics.requests_running : metrics.requests_waiting).Decrement();
  const absl::Duration total = environment_.clock->Now() - arrived_at_;
  metrics.e2e_request_latency.Observe(absl::ToDoubleSeconds(total));
  metrics.CountRequest("Generate", status.code());
  const absl::Duration first_token =
      completion_tokens_ > 0 ? first_token_at_ - arrived_at_ : absl::ZeroDuration();
  LOG(INFO) << "request " << id_ << " model=" << environment_.limits.model_name
            << " code=" << absl::StatusCodeToString(status.code())
            << " prompt_tokens=" << prompt_tokens_ << " completion_tokens=" << completion_tokens_
            << absl::StreamFormat(" first_token_ms=%.1f total_ms=%.1f",
                                  absl::ToDoubleMilliseconds(first_token),
                                  absl::ToDoubleMilliseconds(total))
            << (status.ok() ? "" : " error=\"") << absl::CHexEscape(status.message())
            << (status.ok() ? "" : "\"");
}

void GenerateCall::WatchWrite() {
  write_started_at_ = environment_.clock->Now();
  if (!alarm_set_) SetAlarm(environment_.answer.stall_timeout);
}

void GenerateCall::SetAlarm(absl::Duration delay) {
  alarm_set_ = true;
  alarm_ = std::make_unique<grpc::Alarm>();
  alarm_->Set(
      gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                   gpr_time_from_millis(absl::ToInt64Milliseconds(delay) + 1, GPR_TIMESPAN)),
      [call = shared_from_this()](bool) { call->OnAlarm(); });
}

void GenerateCall::OnAlarm() {
  {
    MutexLock lock(&mutex_);
    alarm_set_ = false;
    // Once done, context and environment may be gone.
    if (done_ || !writing_) return;
    const absl::Duration left =
        write_started_at_ + environment_.answer.stall_timeout - environment_.clock->Now();
    if (left > absl::ZeroDuration()) return SetAlarm(left);
    // The last write of a call that has ended well.
    if (ended_) return context_->TryCancel();
  }
  End(absl::ResourceExhaustedError(absl::StrCat(
          "the client read nothing for ", absl::FormatDuration(environment_.answer.stall_timeout))),
      /*abandon_write=*/true);
}

bool GenerateCall::Ended() {
  MutexLock lock(&mutex_);
  return ended_;
}

absl::Duration GenerateCall::TimeLeft() const { return deadline_ - environment_.clock->Now(); }

}  // namespace phalanx
