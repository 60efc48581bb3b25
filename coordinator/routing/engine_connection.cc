#include "coordinator/routing/engine_connection.h"

#include <grpc/support/time.h>
#include <grpcpp/alarm.h>
#include <grpcpp/create_channel.h>

#include <deque>
#include <optional>
#include <random>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/mutex.h"
#include "coordinator/routing/engine_messages.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "phalanx/worker/v1/engine.grpc.pb.h"

namespace phalanx {
namespace {

using ::grpc::health::v1::Health;
using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;
using ::phalanx::worker::v1::Engine;
using ::phalanx::worker::v1::SessionRequest;
using ::phalanx::worker::v1::SessionResponse;

// The name under which workers register this service with their health service.
constexpr char kEngineServiceName[] = "phalanx.worker.v1.Engine";

// Takes what SessionCall and HealthCall report. Implemented by EngineConnection.
class CallListener {
 public:
  virtual ~CallListener() = default;
  virtual void OnResponse(const SessionResponse& response) = 0;
  virtual void OnHealth(bool serving) = 0;
  // The call is over and reports nothing more.
  virtual void OnSessionDone(const grpc::Status& status) = 0;
  virtual void OnHealthDone(const grpc::Status& status) = 0;
};

// The context of a call that may be cancelled at any time. A context holds the channel, and the
// last holder of a channel must not be released on a thread of gRPC: destroying the channel may end
// gRPC's queue of callbacks, which joins its threads, this one included. So the context is released
// before the connection, which holds the channel too, is told that the call is over. Thread-safe.
class CallContext {
 public:
  // For starting the call.
  grpc::ClientContext* get() {
    MutexLock lock(&mutex_);
    return context_.get();
  }
  void Cancel() {
    MutexLock lock(&mutex_);
    if (context_ != nullptr) context_->TryCancel();
  }
  void Release() {
    MutexLock lock(&mutex_);
    context_.reset();
  }

 private:
  Mutex mutex_;
  std::unique_ptr<grpc::ClientContext> context_ GUARDED_BY(mutex_) =
      std::make_unique<grpc::ClientContext>();
};

// One Session call. Keeps itself alive from Start until it is done.
class SessionCall final : public GroupSession,
                          public grpc::ClientBidiReactor<SessionRequest, SessionResponse>,
                          public std::enable_shared_from_this<SessionCall> {
 public:
  explicit SessionCall(CallListener* listener) : listener_(listener) {}

  void Start(Engine::Stub& stub) {
    self_ = shared_from_this();
    stub.async()->Session(context_.get(), this);
    // Send starts writes outside of gRPC's callbacks. Until RemoveHold gRPC does not call OnDone,
    // so no write can meet a call that is over.
    AddHold();
    StartRead(&response_);
    StartCall();
  }

  void Stop() { context_.Cancel(); }

  void Submit(const EngineRequest& request) override { Send(SubmitMessage(request)); }
  void Cancel(uint64_t request_id) override { Send(CancelMessage(request_id)); }

 private:
  void Send(SessionRequest message) {
    MutexLock lock(&mutex_);
    if (closed_) return;
    queue_.push_back(std::move(message));
    // gRPC takes one write at a time. A deque does not move the message that is being written.
    if (queue_.size() == 1) StartWrite(&queue_.front());
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(&mutex_);
    queue_.pop_front();
    // After a failed write the read fails too, and ends the call. What is left in the queue is not
    // sent: the registry moves or fails its requests.
    if (ok && !closed_ && !queue_.empty()) StartWrite(&queue_.front());
  }

  void OnReadDone(bool ok) override {
    if (ok) {
      listener_->OnResponse(response_);
      StartRead(&response_);
      return;
    }
    {
      MutexLock lock(&mutex_);
      closed_ = true;
    }
    // Without this, a group that ended only its half of the stream would keep the call open.
    context_.Cancel();
    RemoveHold();
  }

  void OnDone(const grpc::Status& status) override {
    // Keeps this object until the function returns.
    const std::shared_ptr<SessionCall> self = std::move(self_);
    context_.Release();
    listener_->OnSessionDone(status);
  }

  CallListener* const listener_;
  CallContext context_;
  SessionResponse response_;
  std::shared_ptr<SessionCall> self_;

  Mutex mutex_;
  // Messages to send. The first one is being written.
  std::deque<SessionRequest> queue_ GUARDED_BY(mutex_);
  bool closed_ GUARDED_BY(mutex_) = false;
};

// One health Watch call. Keeps itself alive from Start until it is done.
class HealthCall final : public grpc::ClientReadReactor<HealthCheckResponse>,
                         public std::enable_shared_from_this<HealthCall> {
 public:
  explicit HealthCall(CallListener* listener) : listener_(listener) {
    request_.set_service(kEngineServiceName);
  }

  void Start(Health::Stub& stub) {
    self_ = shared_from_this();
    stub.async()->Watch(context_.get(), &request_, this);
    StartRead(&response_);
    StartCall();
  }

  void Stop() { context_.Cancel(); }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) return;
    listener_->OnHealth(response_.status() == HealthCheckResponse::SERVING);
    StartRead(&response_);
  }

  void OnDone(const grpc::Status& status) override {
    const std::shared_ptr<HealthCall> self = std::move(self_);
    context_.Release();
    listener_->OnHealthDone(status);
  }

  CallListener* const listener_;
  CallContext context_;
  HealthCheckRequest request_;
  HealthCheckResponse response_;
  std::shared_ptr<HealthCall> self_;
};

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address,
                                           const EngineConnectionOptions& options) {
  grpc::ChannelArguments arguments;
  const auto milliseconds = [](absl::Duration d) {
    return static_cast<int>(absl::ToInt64Milliseconds(d));
  };
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, milliseconds(options.keepalive_time));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, milliseconds(options.keepalive_timeout));
  // Pings at all times: also without calls, and however long no data has been sent. By default gRPC
  // would stop after two pings without data.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // When to try again is decided by ReconnectBackoff. The channel has a backoff of its own, which
  // must not be slower.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, milliseconds(options.backoff.initial));
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, milliseconds(options.backoff.max));
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, milliseconds(options.backoff.max / 5));
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // The address is numeric, so there is no name to resolve and no proxy to ask for. A pool of its
  // own keeps the channel from sharing a connection with other channels.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  const std::string scheme = absl::StartsWith(address, "[") ? "ipv6:" : "ipv4:";
  return grpc::CreateCustomChannel(scheme + address, grpc::InsecureChannelCredentials(), arguments);
}

// Makes one attempt after the other. An attempt is one Session call and, once the group has said
// Hello, one health Watch. When one of the two ends, the other is stopped. When both are over the
// attempt has ended, and an alarm starts the next one.
class EngineConnection final : public GroupConnection, public CallListener {
 public:
  EngineConnection(const std::string& address, GroupId group,
                   const EngineConnectionOptions& options, GroupRegistry* registry,
                   const Clock* clock)
      : address_(address),
        group_(group),
        registry_(registry),
        channel_(MakeChannel(address, options)),
        engine_stub_(Engine::NewStub(channel_)),
        health_stub_(Health::NewStub(channel_)),
        backoff_(options.backoff, clock) {
    StartAttempt();
  }

  ~EngineConnection() override {
    MutexLock lock(&mutex_);
    stopping_ = true;
    // CANCELLED tells the registry that this coordinator ended the session.
    if (!end_reason_.has_value()) {
      end_reason_ = absl::CancelledError("this coordinator has left it");
    }
    StopCalls();
    if (alarm_ != nullptr) alarm_->Cancel();
    // Callbacks that are still to come use this object.
    while (pending_ > 0) idle_.Wait(&mutex_);
  }

 private:
  void StartAttempt() {
    MutexLock lock(&mutex_);
    if (stopping_) {
      pending_ = 0;
      idle_.SignalAll();
      return;
    }
    pending_ = 1;
    greeted_ = false;
    end_reason_.reset();
    health_end_ = absl::OkStatus();
    session_ = std::make_shared<SessionCall>(this);
    // The registry must know the session before it can report anything.
    registry_->SessionStarted(group_, session_);
    session_->Start(*engine_stub_);
  }

  void OnResponse(const SessionResponse& response) override {
    if (response.has_hello() && !greeted_) {
      Greet(HelloFrom(response.hello()));
    } else if (response.has_step() && greeted_) {
      registry_->StepReceived(group_, EventsFrom(response.step()),
                              LoadFrom(response.step().load()));
      StopIfUseless();
    } else {
      Stop(absl::InternalError("it broke the session protocol"));
    }
  }

  void Greet(const GroupHello& hello) {
    const absl::Status status = registry_->HelloReceived(group_, hello);
    if (!status.ok()) return Stop(status);
    LOG(INFO) << "worker group " << address_ << " is connected: model " << hello.model_name
              << ", context " << hello.context_tokens << ", ranks " << hello.world << ", KV blocks "
              << hello.total_kv_blocks;
    greeted_ = true;
    last_failure_ = "";
    MutexLock lock(&mutex_);
    backoff_.OnConnected();
    // The attempt is ending: those who end it have not seen a health call to stop.
    if (stopping_ || end_reason_.has_value()) return;
    health_ = std::make_shared<HealthCall>(this);
    ++pending_;
    health_->Start(*health_stub_);
  }

  void OnHealth(bool serving) override { registry_->HealthChanged(group_, serving); }

  void OnHealthDone(const grpc::Status& status) override {
    if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
      // A group without a health service serves as long as its session lasts.
      registry_->HealthChanged(group_, true);
    } else {
      // A group that leaves ends both calls, in any order. Its session may still bring answers, so
      // it is not stopped before its requests are done.
      registry_->HealthChanged(group_, false);
      {
        MutexLock lock(&mutex_);
        health_end_ = absl::UnavailableError(
            absl::StrCat("its health service ended: ", status.error_message()));
      }
      StopIfUseless();
    }
    CallDone();
  }

  void OnSessionDone(const grpc::Status& status) override {
    const std::string message = status.error_message();
    Stop(absl::UnavailableError(message.empty() ? "it ended the session" : message));
    CallDone();
  }

  // Once the health Watch has ended, the group gets no new requests. Its session is stopped as soon
  // as it has none left.
  void StopIfUseless() {
    absl::Status health_end;
    {
      MutexLock lock(&mutex_);
      health_end = health_end_;
    }
    if (!health_end.ok() && registry_->OutstandingRequests(group_) == 0) Stop(health_end);
  }

  // Ends the attempt. The first reason for it is kept.
  void Stop(const absl::Status& reason) {
    MutexLock lock(&mutex_);
    if (!end_reason_.has_value()) end_reason_ = reason;
    StopCalls();
  }

  void StopCalls() EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (session_ != nullptr) session_->Stop();
    if (health_ != nullptr) health_->Stop();
  }

  void CallDone() {
    absl::Status reason;
    {
      MutexLock lock(&mutex_);
      // The last call of the attempt stays pending until the registry knows of the end: so the
      // destructor, which waits for it, returns only after the last call to the registry.
      if (pending_ > 1) {
        --pending_;
        return;
      }
      reason = end_reason_.value_or(absl::OkStatus());
      session_ = nullptr;
      health_ = nullptr;
    }
    if (!absl::IsCancelled(reason)) LogEnd(reason);
    registry_->SessionEnded(group_, reason);
    MutexLock lock(&mutex_);
    if (stopping_) {
      pending_ = 0;
      idle_.SignalAll();
      return;
    }
    // The one that stays pending is the alarm. If the destructor cancels it, its callback runs all
    // the same, and StartAttempt only notes that nothing is pending.
    alarm_ = std::make_unique<grpc::Alarm>();
    const int64_t wait_ms = absl::ToInt64Milliseconds(backoff_.OnEnded());
    alarm_->Set(
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(wait_ms, GPR_TIMESPAN)),
        [this](bool) { StartAttempt(); });
  }

  // Logs a change of state, not every failed attempt.
  void LogEnd(const absl::Status& reason) {
    const std::string failure(reason.message());
    if (absl::IsFailedPrecondition(reason)) {
      if (failure != last_failure_) LOG(ERROR) << failure << "; it gets no requests";
    } else if (greeted_) {
      LOG(WARNING) << "worker group " << address_ << " is lost: " << failure;
    } else if (last_failure_.empty()) {
      LOG(WARNING) << "worker group " << address_ << " cannot be reached: " << failure;
    }
    last_failure_ = failure;
  }

  const std::string address_;
  const GroupId group_;
  GroupRegistry* const registry_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<Engine::Stub> engine_stub_;
  const std::unique_ptr<Health::Stub> health_stub_;

  // greeted_ and last_failure_ are not guarded. They are used by the session's callbacks, of which
  // gRPC runs one at a time, and after an attempt has ended.
  bool greeted_ = false;
  std::string last_failure_;

  Mutex mutex_;
  CondVar idle_;
  ReconnectBackoff backoff_ GUARDED_BY(mutex_);
  std::shared_ptr<SessionCall> session_ GUARDED_BY(mutex_);
  std::shared_ptr<HealthCall> health_ GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Alarm> alarm_ GUARDED_BY(mutex_);
  std::optional<absl::Status> end_reason_ GUARDED_BY(mutex_);
  // The status that the health Watch of the attempt ended with; OK while it runs.
  absl::Status health_end_ GUARDED_BY(mutex_);
  // Calls of the attempt that are not over. Between attempts it is 1, for the alarm.
  int pending_ GUARDED_BY(mutex_) = 0;
  bool stopping_ GUARDED_BY(mutex_) = false;
};

}  // namespace

std::unique_ptr<GroupConnection> ConnectToEngine(const std::string& address, GroupId group,
                                                 const EngineConnectionOptions& options,
                                                 GroupRegistry* registry, const Clock* clock) {
  // Coordinators that lost a group together must not come back together.
  EngineConnectionOptions seeded = options;
  seeded.backoff.seed = std::random_device()();
  return std::make_unique<EngineConnection>(address, group, seeded, registry, clock);
}

}  // namespace phalanx
