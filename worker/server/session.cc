#include "worker/server/session.h"

#include <deque>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status.h"
#include "grpcpp/impl/codegen/proto_utils.h"
#include "rpc/read_message.h"
#include "worker/engine/event_sink.h"
#include "worker/server/engine_messages.h"

namespace phalanx {
namespace {

// gRPC says in the same way that the peer has closed its side and that it has refused to read a
// message. Of its own status for the latter and that of the session either may come first, so both
// have the same code.
absl::Status NoCommandError() {
  return absl::ResourceExhaustedError(
      absl::StrCat("a command larger than max (", kMaxCommandBytes,
                   " bytes), or the peer closed its side and did not cancel the call"));
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

grpc::ByteBuffer Serialize(const worker::v1::SessionResponse& response) {
  grpc::ByteBuffer bytes;
  bool own_buffer;
  const grpc::Status status = grpc::SerializationTraits<worker::v1::SessionResponse>::Serialize(
      response, &bytes, &own_buffer);
  CHECK(status.ok()) << status.error_message();
  return bytes;
}

// Three locks are taken, always in this order: that of the engine's session, which is held while it
// calls the sink; mutex_; that of the engine.
class Session final : public GreetableSession, private EventSink {
 public:
  Session(Engine* engine, size_t max_queued_bytes, std::function<void(GreetableSession*)> on_done,
          std::function<void()> on_gone)
      : engine_(engine),
        max_queued_bytes_(max_queued_bytes),
        on_done_(std::move(on_done)),
        on_gone_(std::move(on_gone)) {}

  void Greet(const worker::v1::Hello& hello) override;

 private:
  ~Session() override = default;

  // OnReadDone, OnWriteDone, OnCancel and OnDone are called by gRPC's threads.
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  // OnStep and OnEngineEnded are called by the engine thread.
  void OnStep(absl::Span<const RequestEvent> events, const EngineLoad& load) override;
  void OnEngineEnded(const absl::Status& status) override;

  // Carries out the command in incoming_. An error ends the stream.
  absl::Status HandleCommand();
  void Submit(const worker::v1::Submit& submit);
  // Queues a message, unless the stream is to end.
  void Send(const worker::v1::SessionResponse& response) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Cancels all requests and ends the stream with `status` once the queue is written.
  void Close(const absl::Status& status) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Like Close, but what is queued is dropped.
  void Abort(const absl::Status& status) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Starts the next write or, if the stream is to end and all is written, ends it. Does nothing
  // while a write is under way.
  void Advance() EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Engine* const engine_;
  const size_t max_queued_bytes_;
  const std::function<void(GreetableSession*)> on_done_;
  const std::function<void()> on_gone_;
  // gRPC reads into this between StartRead and OnReadDone.
  grpc::ByteBuffer incoming_;

  Mutex mutex_;
  // Null before Greet, and if the engine had ended before it.
  std::unique_ptr<EngineSession> engine_session_ GUARDED_BY(mutex_);
  // Messages to send. The first one is being written while writing_ is set.
  std::deque<grpc::ByteBuffer> outgoing_ GUARDED_BY(mutex_);
  size_t queued_bytes_ GUARDED_BY(mutex_) = 0;
  bool writing_ GUARDED_BY(mutex_) = false;
  // The status that the stream is to end with, once that is known.
  std::optional<absl::Status> closing_ GUARDED_BY(mutex_);
  // gRPC has been given the status.
  bool finished_ GUARDED_BY(mutex_) = false;
};

void Session::Greet(const worker::v1::Hello& hello) {
  MutexLock lock(&mutex_);
  // The peer may have gone while the session waited for Greet.
  if (closing_.has_value()) return;
  absl::StatusOr<std::unique_ptr<EngineSession>> engine_session = engine_->OpenSession(this);
  if (!engine_session.ok()) {
    Close(engine_session.status());
    return;
  }
  engine_session_ = *std::move(engine_session);
  worker::v1::SessionResponse response;
  *response.mutable_hello() = hello;
  Send(response);
  StartRead(&incoming_);
}

void Session::OnReadDone(bool ok) {
  const absl::Status status = ok ? HandleCommand() : NoCommandError();
  MutexLock lock(&mutex_);
  if (!status.ok()) {
    Abort(status);
    return;
  }
  // The engine may have ended since the command was carried out; what it had to say of requests is
  // still to be written then.
  if (!closing_.has_value()) StartRead(&incoming_);
}

absl::Status Session::HandleCommand() {
  worker::v1::SessionRequest request;
  RETURN_IF_ERROR(ReadMessage(incoming_, kMaxCommandBytes, &request));
  switch (request.command_case()) {
    case worker::v1::SessionRequest::kSubmit:
      Submit(request.submit());
      return absl::OkStatus();
    case worker::v1::SessionRequest::kCancel: {
      MutexLock lock(&mutex_);
      engine_session_->Cancel(RequestId{request.cancel().request_id()});
      return absl::OkStatus();
    }
    case worker::v1::SessionRequest::COMMAND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("command is not set");
}

void Session::Submit(const worker::v1::Submit& submit) {
  const RequestId id{submit.request_id()};
  // Converted without the lock, for which the engine thread would have to wait.
  absl::StatusOr<GenerationRequest> request = ToGenerationRequest(submit);
  MutexLock lock(&mutex_);
  if (closing_.has_value()) return;
  const absl::Status status =
      request.ok() ? engine_session_->Submit(id, *std::move(request)) : request.status();
  // The lock is held since before the engine knew of the request. So the acceptance is queued
  // before the request's events, for which OnStep takes the lock.
  Send(status.ok() ? ToAcceptance(id, engine_->load()) : ToRefusal(id, status, engine_->load()));
}

void Session::OnStep(absl::Span<const RequestEvent> events, const EngineLoad& load) {
  const worker::v1::SessionResponse response = ToStepEvents(events, load);
  MutexLock lock(&mutex_);
  Send(response);
}

void Session::OnEngineEnded(const absl::Status& status) {
  MutexLock lock(&mutex_);
  Close(status);
}

void Session::Send(const worker::v1::SessionResponse& response) {
  if (closing_.has_value()) return;
  grpc::ByteBuffer bytes = Serialize(response);
  // This thread may be the engine's, which cannot wait for a slow peer.
  queued_bytes_ += bytes.Length();
  if (queued_bytes_ > max_queued_bytes_) {
    Abort(absl::ResourceExhaustedError(absl::StrCat(
        "more than ", max_queued_bytes_, " bytes of events wait for a peer that does not read")));
    return;
  }
  outgoing_.push_back(std::move(bytes));
  Advance();
}

void Session::Close(const absl::Status& status) {
  if (closing_.has_value()) return;
  closing_ = status;
  if (engine_session_ != nullptr) engine_session_->CancelAll();
  Advance();
}

void Session::Abort(const absl::Status& status) {
  // gRPC is reading the message that is being written, so that one stays.
  while (outgoing_.size() > (writing_ ? 1 : 0)) outgoing_.pop_back();
  Close(status);
}

void Session::Advance() {
  if (writing_ || finished_) return;
  if (!outgoing_.empty()) {
    writing_ = true;
    StartWrite(&outgoing_.front());
  } else if (closing_.has_value()) {
    finished_ = true;
    Finish(ToGrpcStatus(*closing_));
  }
}

void Session::OnWriteDone(bool ok) {
  MutexLock lock(&mutex_);
  writing_ = false;
  // Abort keeps this message, and Send adds behind it, so it is still the first.
  queued_bytes_ -= outgoing_.front().Length();
  outgoing_.pop_front();
  if (!ok) Abort(absl::CancelledError("the stream broke"));
  Advance();
}

void Session::OnCancel() {
  MutexLock lock(&mutex_);
  Abort(absl::CancelledError("the stream broke"));
}

void Session::OnDone() {
  on_done_(this);
  std::unique_ptr<EngineSession> engine_session;
  {
    MutexLock lock(&mutex_);
    engine_session = std::move(engine_session_);
  }
  // Waits for a call of OnStep that is running, which may need mutex_: so it is done without that
  // lock.
  engine_session.reset();
  // A copy, because on_gone_ is deleted too. on_gone comes last: it may let the server be
  // destroyed.
  const std::function<void()> on_gone = on_gone_;
  delete this;
  on_gone();
}

}  // namespace

GreetableSession* NewSession(Engine* engine, size_t max_queued_bytes,
                             std::function<void(GreetableSession*)> on_done,
                             std::function<void()> on_gone) {
  return new Session(engine, max_queued_bytes, std::move(on_done), std::move(on_gone));
}

}  // namespace phalanx
