#include "worker/server/worker_server.h"

#include <grpc/support/time.h>

#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/host_port.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status.h"
#include "grpcpp/grpcpp.h"
#include "kernels/ops.h"
#include "phalanx/worker/v1/engine.grpc.pb.h"
#include "rpc/health_service.h"
#include "rpc/listener.h"
#include "rpc/server_setup.h"
#include "worker/server/introspection_service.h"
#include "worker/server/session.h"

namespace phalanx {
namespace {

worker::v1::Hello ToHello(const HelloInfo& info) {
  worker::v1::Hello hello;
  hello.set_model_name(info.model_name);
  hello.set_model_fingerprint(info.model_fingerprint);
  hello.set_context_tokens(info.context_tokens);
  hello.set_world(info.world);
  hello.set_total_kv_blocks(info.total_kv_blocks);
  hello.set_kv_block_tokens(kernels::kKvBlockTokens);
  hello.set_weights_digest(info.weights_digest);
  hello.set_determinism(info.determinism == kernels::Determinism::kStrict
                            ? worker::v1::DETERMINISM_STRICT
                            : worker::v1::DETERMINISM_FAST);
  hello.set_arithmetic(info.arithmetic);
  hello.mutable_features()->Add(info.features.begin(), info.features.end());
  return hello;
}

class EngineService final
    : public worker::v1::Engine::WithRawCallbackMethod_Session<worker::v1::Engine::Service> {
 public:
  EngineService(Engine* engine, size_t max_queued_bytes)
      : engine_(engine), max_queued_bytes_(max_queued_bytes) {}

  // gRPC calls nothing on the session before this returns, so on_done cannot come too early.
  SessionReactor* Session(grpc::CallbackServerContext*) override {
    GreetableSession* const session = NewSession(
        engine_, max_queued_bytes_,
        [this](GreetableSession* done) {
          MutexLock lock(&mutex_);
          waiting_.erase(done);
        },
        [this] {
          MutexLock lock(&mutex_);
          if (--open_sessions_ == 0) all_gone_.SignalAll();
        });
    MutexLock lock(&mutex_);
    ++open_sessions_;
    if (hello_.has_value()) {
      session->Greet(*hello_);
    } else {
      waiting_.insert(session);
    }
    return session;
  }

  void Announce(const HelloInfo& info) {
    MutexLock lock(&mutex_);
    CHECK(!hello_.has_value());
    hello_ = ToHello(info);
    for (GreetableSession* const session : waiting_) session->Greet(*hello_);
    waiting_.clear();
  }

  // Returns when no session is open, or at `deadline`, a time of MonotonicClock().
  void WaitUntilAllGone(absl::Time deadline) {
    MutexLock lock(&mutex_);
    while (open_sessions_ > 0) {
      const absl::Duration left = deadline - MonotonicClock()->Now();
      if (left <= absl::ZeroDuration()) return;
      all_gone_.WaitFor(&mutex_, left);
    }
  }

 private:
  phalanx::Engine* const engine_;
  const size_t max_queued_bytes_;
  // Taken before the mutex of a session, as Announce does.
  Mutex mutex_;
  std::optional<worker::v1::Hello> hello_ GUARDED_BY(mutex_);
  // Sessions that wait for Announce.
  absl::flat_hash_set<GreetableSession*> waiting_ GUARDED_BY(mutex_);
  CondVar all_gone_;
  int open_sessions_ GUARDED_BY(mutex_) = 0;
};

}  // namespace

class WorkerServer::Impl {
 public:
  Impl(const Options& options, Engine* engine)
      : self_probe_options_(options.self_probe),
        registry_(*options.registry),
        service_(engine, options.max_queued_bytes),
        introspection_(options.introspection, engine),
        health_({worker::v1::Engine::service_full_name()}) {}
  ~Impl() { Shutdown(absl::ZeroDuration()); }

  absl::Status Start(const HostPort& address) {
    absl::StatusOr<std::unique_ptr<Listener>> listener =
        Listener::Listen(address, kMaxCommandBytes, registry_);
    if (!listener.ok()) {
      return absl::UnavailableError(absl::StrCat(listener.status().message(), " (--listen)"));
    }
    listener_ = *std::move(listener);
    grpc::ServerBuilder builder;
    SetUpServer(kMaxCommandBytes, builder);
    listener_->Attach(builder);
    builder.RegisterService(&service_);
    builder.RegisterService(introspection_.service());
    builder.RegisterService(health_.service());
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) return absl::InternalError("the gRPC server does not start");
    listener_->Start();
    self_probe_.emplace(self_probe_options_, Dialable({address.host, port()}), listener_.get(),
                        registry_);
    return absl::OkStatus();
  }

  int port() const { return listener_->port(); }

  void Announce(const HelloInfo& hello) {
    service_.Announce(hello);
    introspection_.Announce(hello.model_name, hello.world);
  }

  void SetServing(bool serving) { health_.SetServing(serving); }

  void Shutdown(absl::Duration grace) {
    if (server_ == nullptr) return;
    // Coordinators watch the health: they send nothing new while their sessions come to an end.
    SetServing(false);
    service_.WaitUntilAllGone(MonotonicClock()->Now() + grace);
    health_.EndWatches();
    self_probe_.reset();
    listener_->Stop();
    // What is left now has had its grace, so the deadline for calls is at once.
    server_->Shutdown(gpr_now(GPR_CLOCK_MONOTONIC));
    server_->Wait();
    // A session calls on_gone after gRPC is done with it, and uses service_ for that.
    service_.WaitUntilAllGone(absl::InfiniteFuture());
  }

 private:
  const SelfProbe::Options self_probe_options_;
  prometheus::Registry& registry_;
  EngineService service_;
  IntrospectionService introspection_;
  HealthService health_;
  std::unique_ptr<Listener> listener_;
  std::optional<SelfProbe> self_probe_;
  std::unique_ptr<grpc::Server> server_;
};

absl::StatusOr<std::unique_ptr<WorkerServer>> WorkerServer::Start(const Options& options,
                                                                  Engine* engine) {
  CHECK(options.registry != nullptr) << "a worker server needs a registry";
  auto impl = std::make_unique<Impl>(options, engine);
  RETURN_IF_ERROR(impl->Start(options.address));
  return std::unique_ptr<WorkerServer>(new WorkerServer(std::move(impl)));
}

WorkerServer::WorkerServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

WorkerServer::~WorkerServer() = default;

int WorkerServer::port() const { return impl_->port(); }

void WorkerServer::Announce(const HelloInfo& hello) { impl_->Announce(hello); }

void WorkerServer::SetServing(bool serving) { impl_->SetServing(serving); }

void WorkerServer::Shutdown(absl::Duration grace) { impl_->Shutdown(grace); }

}  // namespace phalanx
