#include "coordinator/server/stream_call.h"

#include <grpc/grpc.h>
#include <grpc/support/time.h>

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/log.h"
#include "base/status.h"
#include "coordinator/admission/refusal.h"
#include "coordinator/server/error_details.h"
#include "coordinator/server/raw_messages.h"
#include "coordinator/server/request_id.h"

namespace phalanx {
namespace {

// How long the alarm waits for an End that another thread is in the middle of.
constexpr absl::Duration kAgain = absl::Milliseconds(100);

}  // namespace

class StreamCall::Receiver final : public GenerationSink {
 public:
  Receiver(std::shared_ptr<StreamCall> call, int index) : call_(std::move(call)), index_(index) {}

  void OnAccepted() override { call_->OnAccepted(); }
  void OnStarted() override { call_->OnStarted(); }
  void OnCachedTokens(int cached_tokens) override { call_->OnCachedTokens(index_, cached_tokens); }
  void OnDraft(int drafted, int accepted) override { call_->OnDraft(index_, drafted, accepted); }
  void OnTokens(absl::Span<const int32_t> token_ids,
                absl::Span<const TokenLogProbs> log_probs) override {
    call_->OnTokens(index_, token_ids, log_probs);
  }
  void OnLogProbs(absl::Span<const float> log_probs) override {
    call_->OnLogProbs(index_, log_probs);
  }
  void OnFinished(const EngineFinish& finish) override { call_->OnFinished(index_, finish); }
  void OnFailed(const absl::Status& status) override { call_->End(status); }

 private:
  const std::shared_ptr<StreamCall> call_;
  const int index_;
};

grpc::ServerWriteReactor<grpc::ByteBuffer>* StreamCall::Start(
    const std::shared_ptr<StreamCall>& call, const grpc::ByteBuffer& bytes) {
  call->self_ = call;
  call->Arrive(bytes);
  return call.get();
}

StreamCall::StreamCall(const ServingEnvironment* environment, const char* method,
                       grpc::CallbackServerContext* context)
    : environment_(*environment),
      id_(RequestIdOf(*context)),
      arrived_at_(environment->clock->Now()),
      method_(method),
      context_(context),
      deadline_(arrived_at_ + TimeToDeadline(*context)) {}

void StreamCall::Arrive(const grpc::ByteBuffer& bytes) {
  // Settle takes it back, whatever becomes of the call.
  environment_.metrics->requests_waiting.Increment();
  absl::Status status = Admit(bytes);
  const std::optional<int64_t> text_bytes = status.ok() ? TextBytes() : std::nullopt;
  if (text_bytes.has_value()) {
    status = environment_.text_pool->Submit(this, *text_bytes, [call = shared_from_this()] {
      // Cancelled while it waited for a thread, and too late for Remove to take it out.
      if (call->Ended()) return;
      const absl::Status dispatched = call->Dispatch();
      if (!dispatched.ok()) call->End(dispatched);
    });
  } else if (status.ok()) {
    status = Dispatch();
  }
  if (!status.ok()) End(status);
}

absl::Status StreamCall::Admit(const grpc::ByteBuffer& bytes) {
  // The gate comes first: a server that is full spends no time on parsing.
  absl::StatusOr<RequestGate::Ticket> ticket = environment_.gate->Enter();
  if (!ticket.ok()) return ticket.status();
  ticket_.emplace(*std::move(ticket));
  if (TimeLeft() <= absl::ZeroDuration()) {
    return Refused(RefusalKind::kExpired,
                   absl::DeadlineExceededError("the deadline had passed when the request arrived"));
  }
  RETURN_IF_ERROR(id_.status);
  return Parse(bytes);
}

absl::Status StreamCall::Dispatch() {
  ASSIGN_OR_RETURN(std::vector<EngineRequest> requests, Prepare());
  std::vector<std::shared_ptr<GenerationSink>> receivers;
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].name = id_.text;
    receivers.push_back(std::make_shared<Receiver>(shared_from_this(), static_cast<int>(i)));
  }
  {
    MutexLock lock(&mutex_);
    // The client went away while its prompt was worked on. End has seen to everything else.
    if (ended_) return absl::OkStatus();
    dispatched_at_ = environment_.clock->Now();
    prompt_tokens_ = static_cast<int>(requests.front().prompt_token_ids.size());
    engine_requests_.resize(requests.size());
    Dispatching(requests);
  }
  // Without mutex_: events may come from another thread before SubmitAll returns, and they take it.
  ASSIGN_OR_RETURN(std::vector<uint64_t> unwanted,
                   environment_.groups->SubmitAll(std::move(requests), std::move(receivers)));
  {
    MutexLock lock(&mutex_);
    if (!ended_) {
      const std::vector<uint64_t> ids = std::exchange(unwanted, {});
      for (size_t i = 0; i < ids.size(); ++i) {
        EngineRequestState& state = engine_requests_[i];
        if (state.done) {
          unwanted.push_back(ids[i]);
        } else {
          state.id = ids[i];
        }
      }
    }
  }
  // The call ended, or the engine was done, before the requests' numbers were known here. So nobody
  // could cancel them, and it is left to this thread. A number that the registry no longer has is
  // ignored.
  for (const uint64_t id : unwanted) environment_.groups->Cancel(id);
  return absl::OkStatus();
}

void StreamCall::OnAccepted() {
  MutexLock lock(&mutex_);
  if (ended_ || ++num_accepted_ < engine_requests_.size()) return;
  accepted_ = true;
  // Goes out with the first event. A refusal has it in its trailing metadata, as clients that have
  // got initial metadata do not try again by themselves.
  context_->AddInitialMetadata(kRequestIdMetadata, id_.text);
  environment_.metrics->prompt_tokens.Increment(prompt_tokens_);
  Pump();
}

void StreamCall::OnStarted() {
  MutexLock lock(&mutex_);
  if (ended_ || running_) return;
  running_ = true;
  environment_.metrics->requests_waiting.Decrement();
  environment_.metrics->requests_running.Increment();
}

std::optional<uint64_t> StreamCall::EngineIsDone(int index) {
  engine_requests_[index].done = true;
  return std::exchange(engine_requests_[index].id, std::nullopt);
}

void StreamCall::CheckUnread(int64_t buffered_bytes) {
  if (buffered_bytes <= environment_.answer.max_buffered_bytes) return;
  End(absl::ResourceExhaustedError(absl::StrCat("the client left more than ",
                                                environment_.answer.max_buffered_bytes,
                                                " bytes of its answer unread, the limit")),
      /*drop_unread=*/true);
}

void StreamCall::Pump() {
  // gRPC allows one write at a time. What comes meanwhile is taken when OnWriteDone calls this.
  if (!accepted_ || writing_ || ended_ || finished_taken_) return;
  std::optional<Event> event = TakeEvent();
  if (!event.has_value()) return;
  outgoing_.Swap(&event->bytes);
  writing_ = true;
  finished_taken_ = event->finished;
  WatchWrite();
  StartWrite(&outgoing_);
}

void StreamCall::OnWriteDone(bool ok) {
  MutexLock lock(&mutex_);
  writing_ = false;
  // The status has waited for this write to be over.
  if (ended_) return SendStatusIfIdle();
  // A write fails only if the call was cancelled, which OnCancel deals with.
  if (!ok) return;
  if (!finished_taken_) return Pump();
  // gRPC could send the status together with the last event. But then the call would have counted
  // as OK before the client took that event, which it may never do.
  ended_ = true;
  Settle(absl::OkStatus());
  Finish(grpc::Status::OK);
}

void StreamCall::OnCancel() {
  End(WhyCancelled(arrived_at_, deadline_, environment_.clock->Now()));
}

void StreamCall::OnDone() {
  // Keeps this object until the function returns. Once ticket_ is back nothing of environment_ may
  // be used: without tickets the server may be destroyed.
  const std::shared_ptr<StreamCall> self = std::move(self_);
  // The alarm holds its callback, and that holds this object, until the alarm is destroyed.
  // Destroyed without mutex_, which the callback takes.
  std::unique_ptr<grpc::Alarm> alarm;
  {
    MutexLock lock(&mutex_);
    done_ = true;
    alarm = std::move(alarm_);
  }
  alarm.reset();
  ticket_.reset();
}

void StreamCall::End(const absl::Status& status, bool drop_unread) {
  std::vector<uint64_t> engine_ids;
  {
    MutexLock lock(&mutex_);
    // Another reason came first.
    if (ended_) return;
    ended_ = true;
    for (EngineRequestState& request : engine_requests_) {
      if (request.id.has_value()) engine_ids.push_back(*std::exchange(request.id, std::nullopt));
    }
    Settle(status);
    if (drop_unread) DropUnread(status);
  }
  // The registry and the text pool are called without mutex_: both have locks of their own, and
  // what Remove destroys may hold this call.
  for (const uint64_t id : engine_ids) environment_.groups->Cancel(id);
  cancelled_ = true;
  environment_.text_pool->Remove(this);
  // The status is sent last: after it gRPC may be done with the call, and then context_ and
  // environment_ may be gone.
  MutexLock lock(&mutex_);
  status_to_send_ = status;
  SendStatusIfIdle();
}

// Like TryCancel, with which the client would see CANCELLED instead of `status`.
void StreamCall::DropUnread(const absl::Status& status) {
  grpc_call_cancel_with_status(context_->c_call(), static_cast<grpc_status_code>(status.code()),
                               std::string(status.message()).c_str(), nullptr);
}

void StreamCall::SendStatusIfIdle() {
  if (writing_ || !status_to_send_.has_value()) return;
  Finish(StatusForClient(*std::exchange(status_to_send_, std::nullopt), id_.text,
                         environment_.limits.model_name, context_, TokensSent()));
}

void StreamCall::Settle(const absl::Status& status) {
  CoordinatorMetrics& metrics = *environment_.metrics;
  (running_ ? metrics.requests_running : metrics.requests_waiting).Decrement();
  metrics.CountRequest(method_, status);
  const absl::Duration total = environment_.clock->Now() - arrived_at_;
  const std::string details = SettleKind(status, total);
  LOG(INFO) << "request " << id_.text << " method=" << method_
            << " model=" << environment_.limits.model_name
            << " code=" << absl::StatusCodeToString(status.code()) << " " << details
            << absl::StreamFormat(" total_ms=%.1f", absl::ToDoubleMilliseconds(total))
            << (status.ok() ? "" : " error=\"") << absl::CHexEscape(status.message())
            << (status.ok() ? "" : "\"");
}

void StreamCall::WatchWrite() {
  write_started_at_ = environment_.clock->Now();
  if (!alarm_set_) SetAlarm(environment_.answer.stall_timeout);
}

void StreamCall::SetAlarm(absl::Duration delay) {
  alarm_set_ = true;
  // The alarm that this replaces has gone off, so its callback cannot be called from here.
  alarm_ = std::make_unique<grpc::Alarm>();
  alarm_->Set(
      gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                   gpr_time_from_millis(absl::ToInt64Milliseconds(delay) + 1, GPR_TIMESPAN)),
      [call = shared_from_this()](bool) { call->OnAlarm(); });
}

void StreamCall::OnAlarm() {
  {
    MutexLock lock(&mutex_);
    alarm_set_ = false;
    // If no write is under way, the next one sets the alarm again.
    if (done_ || !writing_) return;
    const absl::Duration left =
        write_started_at_ + environment_.answer.stall_timeout - environment_.clock->Now();
    if (left > absl::ZeroDuration()) return SetAlarm(left);
    // The call has ended for another reason, but its last write is stuck, and the status waits for
    // it. If there is no status yet, End is between its two locks on another thread.
    if (ended_) return status_to_send_ ? DropUnread(*status_to_send_) : SetAlarm(kAgain);
  }
  End(absl::ResourceExhaustedError(absl::StrCat(
          "the client read nothing for ", absl::FormatDuration(environment_.answer.stall_timeout),
          ", the limit (--stall_timeout)")),
      /*drop_unread=*/true);
}

bool StreamCall::Ended() {
  MutexLock lock(&mutex_);
  return ended_;
}

absl::Duration StreamCall::TimeLeft() const { return deadline_ - environment_.clock->Now(); }

}  // namespace phalanx
