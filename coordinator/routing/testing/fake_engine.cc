#include "coordinator/routing/testing/fake_engine.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <list>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/mutex.h"
#include "phalanx/worker/v1/engine.grpc.pb.h"
#include "rpc/health_service.h"

namespace phalanx {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(30);

using Stream = grpc::ServerReaderWriter<worker::v1::SessionResponse, worker::v1::SessionRequest>;

}  // namespace

class FakeEngine::Service final : public worker::v1::Engine::Service {
 public:
  Service(const Options& options, Script script) : options_(options), script_(std::move(script)) {
    grpc::ServerBuilder builder;
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddListeningPort(absl::StrCat("127.0.0.1:", options.port),
                             grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    builder.RegisterService(health_.service());
    server_ = builder.BuildAndStart();
    CHECK(server_ != nullptr) << "port " << options.port;
    SetServing(options.serving);
  }

  ~Service() override {
    EndSessions(absl::UnavailableError("the fake engine is gone"));
    health_.EndWatches();
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }

  grpc::Status Session(grpc::ServerContext* context, Stream* stream) override {
    worker::v1::SessionResponse hello;
    hello.mutable_hello()->set_model_name("tiny");
    hello.mutable_hello()->set_model_fingerprint(options_.fingerprint);
    hello.mutable_hello()->set_weights_digest(options_.weights_digest);
    hello.mutable_hello()->set_context_tokens(options_.context_tokens);
    hello.mutable_hello()->set_world(1);
    hello.mutable_hello()->set_determinism(worker::v1::DETERMINISM_STRICT);
    for (const std::string& feature : options_.features) {
      hello.mutable_hello()->add_features(feature);
    }
    for (int i = 0; i < options_.greetings; ++i) stream->Write(hello);
    Open open{context, stream, std::nullopt};
    std::list<Open*>::iterator entry;
    {
      MutexLock lock(&mutex_);
      entry = sessions_.insert(sessions_.end(), &open);
      ++opened_;
      changed_.SignalAll();
    }
    worker::v1::SessionRequest request;
    while (stream->Read(&request)) Handle(request, stream);
    MutexLock lock(&mutex_);
    sessions_.erase(entry);
    return open.end.value_or(grpc::Status::OK);
  }

  void SetServing(bool serving) { health_.SetServing(serving); }
  void EndHealth() { health_.EndWatches(); }

  void WaitForSession(int count) {
    MutexLock lock(&mutex_);
    while (opened_ < count) Wait();
  }

  worker::v1::Submit WaitForSubmit(int count) {
    MutexLock lock(&mutex_);
    while (static_cast<int>(submits_.size()) < count) Wait();
    return submits_[count - 1];
  }

  int submits() {
    MutexLock lock(&mutex_);
    return static_cast<int>(submits_.size());
  }

  uint64_t WaitForCancel(int count) {
    MutexLock lock(&mutex_);
    while (static_cast<int>(cancels_.size()) < count) Wait();
    return cancels_[count - 1];
  }

  void Send(const worker::v1::RequestEvent& event) {
    MutexLock lock(&mutex_);
    while (sessions_.empty()) Wait();
    Write(event, sessions_.back()->stream);
  }

  void EndSessions(const absl::Status& status) {
    MutexLock lock(&mutex_);
    for (Open* open : sessions_) {
      open->end =
          grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
      open->context->TryCancel();
    }
  }

  int port() const { return port_; }

 private:
  struct Open {
    grpc::ServerContext* context;
    Stream* stream;
    std::optional<grpc::Status> end;
  };

  void Handle(const worker::v1::SessionRequest& request, Stream* stream) {
    MutexLock lock(&mutex_);
    if (request.has_cancel()) cancels_.push_back(request.cancel().request_id());
    if (request.has_submit()) {
      submits_.push_back(request.submit());
      const uint64_t id = request.submit().request_id();
      std::vector<worker::v1::RequestEvent> events;
      if (script_) events = script_(request.submit());
      const bool accepts = events.empty() ? options_.accepts : !events[0].has_error();
      if (accepts) Write(AcceptedEvent(id), stream);
      for (worker::v1::RequestEvent& event : events) {
        event.set_request_id(id);
        Write(event, stream);
      }
    }
    changed_.SignalAll();
  }

  // Numbers tokens as they come, unless the event has a number itself.
  void Write(worker::v1::RequestEvent event, Stream* stream) EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    int& sent = tokens_sent_[event.request_id()];
    if (event.first_token_index() == 0) event.set_first_token_index(sent);
    sent += event.token_ids_size();
    worker::v1::SessionResponse response;
    *response.mutable_step()->add_requests() = std::move(event);
    stream->Write(response);
  }

  void Wait() EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    CHECK(!changed_.WaitFor(&mutex_, kPatience)) << "waited in vain";
  }

  const Options options_;
  const Script script_;
  HealthService health_{{"phalanx.worker.v1.Engine"}};
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;

  Mutex mutex_;
  CondVar changed_;
  std::list<Open*> sessions_ GUARDED_BY(mutex_);
  int opened_ GUARDED_BY(mutex_) = 0;
  std::vector<worker::v1::Submit> submits_ GUARDED_BY(mutex_);
  // By request id, in all sessions.
  std::map<uint64_t, int> tokens_sent_ GUARDED_BY(mutex_);
  std::vector<uint64_t> cancels_ GUARDED_BY(mutex_);
};

FakeEngine::FakeEngine(const Options& options, Script script)
    : service_(std::make_unique<Service>(options, std::move(script))) {}

FakeEngine::~FakeEngine() = default;

std::string FakeEngine::address() const { return absl::StrCat("127.0.0.1:", port()); }
int FakeEngine::port() const { return service_->port(); }
void FakeEngine::SetServing(bool serving) { service_->SetServing(serving); }
void FakeEngine::EndHealth() { service_->EndHealth(); }
void FakeEngine::WaitForSession(int count) { service_->WaitForSession(count); }
worker::v1::Submit FakeEngine::WaitForSubmit(int count) { return service_->WaitForSubmit(count); }
int FakeEngine::submits() { return service_->submits(); }
uint64_t FakeEngine::WaitForCancel(int count) { return service_->WaitForCancel(count); }
void FakeEngine::Send(const worker::v1::RequestEvent& event) { service_->Send(event); }
void FakeEngine::EndSessions(const absl::Status& status) { service_->EndSessions(status); }

worker::v1::RequestEvent AcceptedEvent(uint64_t request_id) {
  worker::v1::RequestEvent event;
  event.set_request_id(request_id);
  event.set_accepted(true);
  return event;
}

worker::v1::RequestEvent StartedEvent(uint64_t request_id) {
  worker::v1::RequestEvent event;
  event.set_request_id(request_id);
  event.set_started(true);
  return event;
}

worker::v1::RequestEvent ErrorEvent(uint64_t request_id, const absl::Status& status) {
  worker::v1::RequestEvent event;
  event.set_request_id(request_id);
  event.mutable_error()->set_code(static_cast<int>(status.code()));
  event.mutable_error()->set_message(std::string(status.message()));
  return event;
}

worker::v1::RequestEvent TokensEvent(uint64_t request_id, const std::vector<int32_t>& token_ids) {
  worker::v1::RequestEvent event;
  event.set_request_id(request_id);
  event.mutable_token_ids()->Add(token_ids.begin(), token_ids.end());
  return event;
}

worker::v1::RequestEvent LogProbsEvent(uint64_t request_id, const std::vector<float>& log_probs) {
  worker::v1::RequestEvent event;
  event.set_request_id(request_id);
  event.mutable_log_probs()->Add(log_probs.begin(), log_probs.end());
  return event;
}

worker::v1::RequestEvent FinishedEvent(uint64_t request_id,
                                       worker::v1::EngineFinished::Reason reason) {
  worker::v1::RequestEvent event;
  event.set_request_id(request_id);
  event.mutable_finished()->set_reason(reason);
  event.mutable_finished()->set_queue_seconds(0.25);
  event.mutable_finished()->set_prefill_seconds(0.5);
  event.mutable_finished()->set_decode_seconds(1.0);
  return event;
}

}  // namespace phalanx
