#include "coordinator/server/coordinator_server.h"

#include <grpc/grpc.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/host_port.h"
#include "base/mutex.h"
#include "base/status.h"
#include "coordinator/routing/target_resolver.h"
#include "coordinator/server/inference_service.h"
#include "phalanx/v1/inference.grpc.pb.h"
#include "rpc/health_service.h"
#include "rpc/listener.h"
#include "rpc/server_setup.h"

namespace phalanx {
namespace {

// Bound on gRPC's buffers of all connections together. gRPC takes it as a goal and may exceed it.
constexpr size_t kQuotaBytes = size_t{512} << 20;
// How long the last statuses have to reach their clients before calls are cut off.
constexpr absl::Duration kGoodbye = absl::Seconds(1);

class Coordinator final : public CoordinatorServer {
 public:
  Coordinator(Options options, std::unique_ptr<TextService> text, prometheus::Registry& registry)
      : options_(std::move(options)),
        registry_(registry),
        text_(std::move(text)),
        metrics_(registry, options_.limits.model_name),
        gate_(options_.max_requests),
        groups_({.model_fingerprint = options_.model_fingerprint,
                 .vocab = options_.limits.vocab,
                 .on_move = [this](MoveReason reason) { metrics_.CountMove(reason); }},
                MonotonicClock(), [this] { ReportGroups(); }),
        text_pool_(std::make_unique<TextPool>(options_.text)),
        environment_{.limits = options_.limits,
                     .model = options_.model,
                     .answer = options_.answer,
                     .server = {.version = options_.version,
                                .model_fingerprint = options_.model_fingerprint,
                                .max_requests = options_.max_requests,
                                .max_queued_texts = options_.text.max_queued},
                     .clock = MonotonicClock(),
                     .text = text_.get(),
                     .text_pool = text_pool_.get(),
                     .gate = &gate_,
                     .groups = &groups_,
                     .metrics = &metrics_},
        service_(MakeInferenceService(&environment_)),
        health_({options_.limits.model_name, v1::Inference::service_full_name()}) {}

  // Without worker groups every call ends by itself, with a status that says so. Calls whose
  // clients do not take that status in time are cut off.
  ~Coordinator() override {
    workers_.reset();
    health_.EndWatches();
    if (server_ != nullptr) {
      if (!goodbye_.joinable()) SayGoodbye();
      while (!WaitForLastCall(kGoodbye)) grpc_server_cancel_all_calls(server_->c_server());
      goodbye_.join();
      server_->Wait();
    }
    // Last, because a call uses the pool until it has ended.
    text_pool_.reset();
  }

  absl::Status Listen() {
    absl::StatusOr<std::unique_ptr<Listener>> listener =
        Listener::Listen(options_.listen, options_.limits.max_message_bytes(), registry_);
    if (!listener.ok()) {
      return absl::UnavailableError(absl::StrCat(listener.status().message(), " (--listen)"));
    }
    listener_ = *std::move(listener);
    grpc::ServerBuilder builder;
    // Connections wait at the listener until Start, when the server runs.
    SetUpServer(options_.limits.max_message_bytes(), builder);
    listener_->Attach(builder);
    builder.RegisterService(service_.get());
    builder.RegisterService(health_.service());
    grpc::ResourceQuota quota("coordinator");
    builder.SetResourceQuota(quota.Resize(kQuotaBytes));
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) return absl::InternalError("the gRPC server does not start");
    listener_->Start();
    self_probe_.emplace(options_.self_probe, Dialable({options_.listen.host, listener_->port()}),
                        listener_.get(), registry_);
    ReportGroups();
    return absl::OkStatus();
  }

  void ConnectToWorkers() {
    workers_ = std::make_unique<WorkerPool>(
        options_.pool, &groups_,
        [this](const std::string& address, GroupId group) {
          return ConnectToEngine(address, group, options_.connection, &groups_, MonotonicClock());
        },
        options_.workers, ResolveTarget);
  }

  std::string address() const override {
    return Dialable({options_.listen.host, listener_->port()}).ToString();
  }

  void BeginLameDuck() override {
    {
      MutexLock lock(&report_mutex_);
      lame_duck_ = true;
    }
    ReportGroups();
  }

  void Drain(std::function<void()> on_idle) override {
    BeginLameDuck();
    SayGoodbye();
    // Calls on connections that are open already still arrive, and the gate refuses them.
    gate_.Close(std::move(on_idle));
  }

  int requests_in_flight() const override { return gate_.in_flight(); }

 private:
  // Ends the probe first, which would find the port deaf and end the process. gRPC's Shutdown sends
  // GOAWAY at once but returns only when the last call is over, so it runs on a thread of its own.
  void SayGoodbye() {
    self_probe_.reset();
    listener_->Stop();
    goodbye_ = std::thread([this] {
      server_->Shutdown();
      MutexLock lock(&goodbye_mutex_);
      last_call_over_ = true;
      last_call_.SignalAll();
    });
  }

  bool WaitForLastCall(absl::Duration timeout) {
    const absl::Time end = MonotonicClock()->Now() + timeout;
    MutexLock lock(&goodbye_mutex_);
    while (!last_call_over_ && MonotonicClock()->Now() < end) {
      last_call_.WaitFor(&goodbye_mutex_, end - MonotonicClock()->Now());
    }
    return last_call_over_;
  }

  // One lock for counting and reporting: of two threads that report, the one that counts last also
  // reports last.
  void ReportGroups() {
    MutexLock lock(&report_mutex_);
    for (int i = 0; i < kNumGroupStates; ++i) {
      const auto state = static_cast<GroupState>(i);
      metrics_.SetGroups(state, groups_.CountGroups(state));
    }
    health_.SetServing(!lame_duck_ && groups_.CountGroups(GroupState::kServing) > 0);
  }

  const Options options_;
  prometheus::Registry& registry_;
  const std::unique_ptr<TextService> text_;
  CoordinatorMetrics metrics_;
  RequestGate gate_;
  // Held while the state is counted and reported, by ReportGroups.
  Mutex report_mutex_;
  bool lame_duck_ GUARDED_BY(report_mutex_) = false;
  GroupRegistry groups_;
  std::unique_ptr<TextPool> text_pool_;
  const ServingEnvironment environment_;
  const std::unique_ptr<grpc::Service> service_;
  HealthService health_;
  std::unique_ptr<Listener> listener_;
  std::optional<SelfProbe> self_probe_;
  std::unique_ptr<grpc::Server> server_;
  // Runs gRPC's Shutdown, and then sets last_call_over_.
  Mutex goodbye_mutex_;
  CondVar last_call_;
  bool last_call_over_ GUARDED_BY(goodbye_mutex_) = false;
  std::thread goodbye_;
  std::unique_ptr<WorkerPool> workers_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CoordinatorServer>> CoordinatorServer::Start(
    Options options, std::unique_ptr<TextService> text, prometheus::Registry& registry) {
  auto coordinator = std::make_unique<Coordinator>(std::move(options), std::move(text), registry);
  if (absl::Status status = coordinator->Listen(); !status.ok()) return status;
  coordinator->ConnectToWorkers();
  return coordinator;
}

}  // namespace phalanx
