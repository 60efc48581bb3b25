#include "worker/leader.h"

#include <stdlib.h>
#include <unistd.h>

#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics_endpoint.h"
#include "base/mutex.h"
#include "base/status.h"
#include "model/checkpoint.h"
#include "worker/engine/engine.h"
#include "worker/engine/engine_metrics.h"
#include "worker/group/group_leader.h"
#include "worker/rank_model.h"
#include "worker/server/worker_server.h"

namespace phalanx {
namespace {

// For sessions to hand out the last events of their requests.
constexpr absl::Duration kServerGrace = absl::Seconds(2);
constexpr absl::Duration kRankStopTimeout = absl::Seconds(5);

// A new folder that only we can enter; gone with the object.
class SocketFolder {
 public:
  static absl::StatusOr<std::unique_ptr<SocketFolder>> Create() {
    char path[] = "/tmp/phalanx.XXXXXX";
    if (mkdtemp(path) == nullptr) {
      return absl::InternalError("cannot make a folder in /tmp for the ranks' socket");
    }
    return std::unique_ptr<SocketFolder>(new SocketFolder(path));
  }
  ~SocketFolder() { rmdir(path_.c_str()); }

  std::string socket_path() const { return absl::StrCat(path_, "/group"); }

 private:
  explicit SocketFolder(std::string path) : path_(std::move(path)) {}
  const std::string path_;
};

// The executor of the engine, with the time that the group spends in collectives on its metrics.
class MeasuredExecutor final : public StepExecutor {
 public:
  MeasuredExecutor(GroupLeader& group, const Decoder& decoder, EngineMetrics& metrics)
      : group_(group), decoder_(decoder), metrics_(metrics) {}

  absl::StatusOr<StepResult> Execute(const StepInput& input) override {
    absl::StatusOr<StepResult> result = group_.Execute(input);
    if (result.ok()) metrics_.ObserveAllReduce(decoder_.last_comm_time());
    return result;
  }

 private:
  GroupLeader& group_;
  const Decoder& decoder_;
  EngineMetrics& metrics_;
};

// How the group was lost, if it was; set by the group's monitor, read by main.
class LossReport {
 public:
  void Set(const absl::Status& status) {
    MutexLock lock(&mutex_);
    status_ = status;
  }
  absl::Status status() const {
    MutexLock lock(&mutex_);
    return status_;
  }

 private:
  mutable Mutex mutex_;
  absl::Status status_ GUARDED_BY(mutex_);
};

std::string HostOf(const std::string& address) { return address.substr(0, address.rfind(':')); }

std::string ReadyLine(const WorkerOptions& options, int grpc_port, int metrics_port,
                      const GroupLeader& group) {
  const std::string metrics_host = HostOf(options.metrics_listen);
  std::vector<std::string> metrics = {absl::StrCat(metrics_host, ":", metrics_port)};
  const std::vector<GroupLeader::RankInfo> ranks = group.ranks();
  for (size_t rank = 1; rank < ranks.size(); ++rank) {
    metrics.push_back(absl::StrCat(metrics_host, ":", ranks[rank].metrics_port));
  }
  return absl::StrCat("ready grpc=", HostOf(options.listen), ":", grpc_port,
                      " metrics=", absl::StrJoin(metrics, ","));
}

absl::StatusOr<std::unique_ptr<GroupLeader>> FormGroup(
    const WorkerOptions& options, const Checkpoint& checkpoint, const StepLimits& limits,
    std::function<void(const absl::Status&)> on_lost) {
  GroupLeader::Options group{.world = options.group_size(),
                             .limits = limits,
                             .fingerprint = checkpoint.fingerprint(),
                             .socket_path = options.group_socket,
                             .rank_command = nullptr,
                             .startup_timeout = options.startup_timeout,
                             .step_timeout = options.step_timeout,
                             .on_lost = std::move(on_lost)};
  if (options.starts_ranks()) {
    group.rank_command = [&options](int rank) { return RankCommand(options, rank); };
  }
  return GroupLeader::Start(std::move(group));
}

}  // namespace

absl::Status RunLeader(WorkerOptions options, ShutdownSignal& shutdown) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint,
                   Checkpoint::Open(options.model_path));
  ModelSpec spec = checkpoint->spec();
  if (!options.model_name.empty()) spec.name = options.model_name;
  RETURN_IF_ERROR(LimitContext(options, spec));
  ASSIGN_OR_RETURN(const StepLimits limits, MakeStepLimits(options, spec));
  // Before any rank is started: they would all say the same.
  RETURN_IF_ERROR(ShardModel(spec, 0, options.group_size()).status());
  options.threads = ThreadsPerRank(options);
  LOG(INFO) << "model " << spec.name << " (" << spec.architecture << "): " << spec.num_layers
            << " layers, hidden " << spec.hidden << ", " << spec.num_q_heads << " query and "
            << spec.num_kv_heads << " KV heads, vocabulary " << spec.vocab << ", context "
            << spec.context_tokens;

  // Bound first, so that a port in use is known before anything is loaded.
  auto registry = std::make_shared<prometheus::Registry>();
  EngineMetrics metrics(*registry);
  ASSIGN_OR_RETURN(const std::string metrics_address, RankMetricsAddress(options, 0));
  ASSIGN_OR_RETURN(const std::unique_ptr<MetricsEndpoint> endpoint,
                   MetricsEndpoint::Create(metrics_address, "worker", registry));

  ASSIGN_OR_RETURN(const std::unique_ptr<SocketFolder> folder, SocketFolder::Create());
  if (options.group_socket.empty()) options.group_socket = folder->socket_path();
  LossReport loss;
  ASSIGN_OR_RETURN(const std::unique_ptr<GroupLeader> group,
                   FormGroup(options, *checkpoint, limits, [&](const absl::Status& status) {
                     loss.Set(status);
                     shutdown.Notify();
                   }));
  ASSIGN_OR_RETURN(const RankModel model, LoadRankModel(*checkpoint, spec, limits, options.threads,
                                                        group->communicator()));
  RETURN_IF_ERROR(group->AwaitReady(model.decoder.get()));

  MeasuredExecutor executor(*group, *model.decoder, metrics);
  Engine engine(
      {.limits = limits,
       .request_limits = {.vocab_size = spec.vocab,
                          .context_tokens = spec.context_tokens,
                          .original_context_tokens =
                              spec.rope.num_lists() == 1 ? 0 : spec.rope.original_context_tokens},
       .max_waiting = options.max_waiting},
      &executor, MonotonicClock(), &metrics);
  ASSIGN_OR_RETURN(const std::unique_ptr<WorkerServer> server,
                   WorkerServer::Start({.address = options.listen}, &engine,
                                       {.model_name = spec.name,
                                        .model_fingerprint = checkpoint->fingerprint(),
                                        .context_tokens = spec.context_tokens,
                                        .world = options.group_size(),
                                        .total_kv_blocks = limits.kv_blocks}));
  absl::Status engine_status;
  std::thread loop([&] { engine_status = engine.Run(); });
  server->SetServing(true);
  std::cout << ReadyLine(options, server->port(), endpoint->port(), *group) << std::endl;

  const int signal = shutdown.Wait();
  server->SetServing(false);
  if (signal > 0) {
    LOG(INFO) << "signal " << signal << ": draining for at most "
              << absl::FormatDuration(options.drain_timeout);
    if (!engine.Drain(options.drain_timeout)) LOG(WARNING) << "requests are left: ending them";
    engine.Stop();
  } else {
    engine.Fail(loss.status());
  }
  loop.join();
  server->Shutdown(kServerGrace);
  group->Stop(kRankStopTimeout);
  return loss.status();
}

}  // namespace phalanx
