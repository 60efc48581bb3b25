#include "worker/leader.h"

#include <signal.h>

#include <algorithm>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
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
#include "model/checkpoint/checkpoint.h"
#include "rpc/listener.h"
#include "worker/constraint/constraint_check.h"
#include "worker/constraint/constraint_compiler.h"
#include "worker/engine/engine.h"
#include "worker/engine/engine_metrics.h"
#include "worker/group/group_leader.h"
#include "worker/group/rank_identity.h"
#include "worker/group/unix_socket.h"
#include "worker/memory_plan.h"
#include "worker/rank_model.h"
#include "worker/server/worker_server.h"

namespace phalanx {
namespace {

// How long sessions have to send the last events of their requests.
constexpr absl::Duration kServerGrace = absl::Seconds(2);
constexpr absl::Duration kRankStopTimeout = absl::Seconds(2);
// How long the step that runs may go on when no request is left that needs it. After kStepPatience
// it is broken off. If the engine's thread has not ended kBreakOffPatience later, it hangs.
constexpr absl::Duration kStepPatience = absl::Seconds(1);
constexpr absl::Duration kBreakOffPatience = absl::Seconds(2);
// How often a second signal is looked for while requests finish.
constexpr absl::Duration kSignalInterval = absl::Milliseconds(50);

// The executor of the engine, which also measures the time that the group spends in collectives. It
// is made before the group, because the engine needs it, and the server, whose port is bound first,
// needs the engine.
class MeasuredExecutor final : public StepExecutor {
 public:
  explicit MeasuredExecutor(EngineMetrics& metrics) : metrics_(metrics) {}

  // To be called before the first step. `group` is lent.
  void Attach(GroupLeader& group) { group_ = &group; }

  int max_in_flight() const override { return group_->max_in_flight(); }
  absl::Status Submit(Step step) override { return group_->Submit(std::move(step)); }
  absl::StatusOr<StepResult> Await() override {
    absl::StatusOr<StepResult> result = group_->Await();
    if (result.ok() && result->comm_time.has_value()) {
      metrics_.ObserveAllReduce(*result->comm_time);
    }
    return result;
  }

 private:
  EngineMetrics& metrics_;
  GroupLeader* group_ = nullptr;
};

// How the group was lost, if it was. The group's monitor sets it, and main reads it.
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

// The thread that runs the engine.
class EngineThread {
 public:
  // `on_end` is called by the thread when the engine has ended.
  EngineThread(Engine& engine, std::function<void()> on_end)
      : thread_([this, &engine, on_end = std::move(on_end)] {
          absl::Status status = engine.Run();
          {
            MutexLock lock(&mutex_);
            result_ = std::move(status);
            ended_.SignalAll();
          }
          on_end();
        }) {}
  ~EngineThread() { thread_.join(); }

  // The status that the engine ended with; nothing if it still runs after `timeout`.
  std::optional<absl::Status> Wait(absl::Duration timeout) {
    const absl::Time deadline = MonotonicClock()->Now() + timeout;
    MutexLock lock(&mutex_);
    while (!result_.has_value()) {
      const absl::Duration left = deadline - MonotonicClock()->Now();
      if (left <= absl::ZeroDuration()) break;
      ended_.WaitFor(&mutex_, left);
    }
    return result_;
  }

 private:
  Mutex mutex_;
  CondVar ended_;
  std::optional<absl::Status> result_ GUARDED_BY(mutex_);
  std::thread thread_;
};

std::string ReadyLine(const WorkerOptions& options, int grpc_port, int metrics_port,
                      const GroupLeader& group) {
  const std::string& metrics_host = options.metrics_listen.host;
  std::vector<std::string> metrics = {Dialable({metrics_host, metrics_port}).ToString()};
  const std::vector<GroupLeader::RankInfo> ranks = group.ranks();
  for (size_t rank = 1; rank < ranks.size(); ++rank) {
    metrics.push_back(Dialable({metrics_host, ranks[rank].metrics_port}).ToString());
  }
  return absl::StrCat("ready grpc=", Dialable({options.listen.host, grpc_port}).ToString(),
                      " metrics=", absl::StrJoin(metrics, ","));
}

absl::StatusOr<std::unique_ptr<GroupLeader>> FormGroup(
    const WorkerOptions& options, const Platform& platform, const kernels::Backend& backend,
    const Checkpoint& checkpoint, const StepLimits& limits, const ShutdownSignal& shutdown,
    std::function<void(const absl::Status&)> on_lost,
    std::function<void(absl::Duration)> on_pulse) {
  ASSIGN_OR_RETURN(RankIdentity identity, OwnIdentity(checkpoint.fingerprint(), backend));
  GroupLeader::Options group{.world = options.group_size(),
                             .limits = limits,
                             .communicators = platform.communicators.get(),
                             .identity = std::move(identity),
                             .address = options.group_socket,
                             .rank_command = nullptr,
                             .startup_timeout = options.startup_timeout,
                             .stall_timeout = options.stall_timeout,
                             .step_timeout = options.step_timeout,
                             .steps_in_flight = options.steps_in_flight,
                             .interrupt_fd = shutdown.fd(),
                             .on_lost = std::move(on_lost),
                             .on_pulse = std::move(on_pulse)};
  if (options.starts_ranks()) {
    group.rank_command = [&options](int rank) { return RankCommand(options, rank); };
  }
  return GroupLeader::Start(std::move(group));
}

Engine::Options EngineOptions(const WorkerOptions& options, const ModelSpec& spec,
                              const StepLimits& limits) {
  const bool has_rope_switch = spec.rope.num_lists() > 1;
  return {.limits = limits,
          .request_limits = {.vocab_size = spec.vocab,
                             .context_tokens = spec.context_tokens,
                             .original_context_tokens =
                                 has_rope_switch ? spec.rope.original_context_tokens : 0},
          .max_waiting = options.max_waiting,
          .max_waiting_tokens = options.max_waiting_tokens,
          .prefix_cache = options.prefix_cache};
}

// Of the model's texts. `checkpoint` is lent.
std::unique_ptr<ConstraintCompiler> MakeConstraintCompiler(const Checkpoint& checkpoint,
                                                           const ModelSpec& spec) {
  const auto make_vocabulary =
      [&checkpoint,
       vocab = spec.vocab]() -> absl::StatusOr<std::shared_ptr<const ConstraintVocabulary>> {
    ASSIGN_OR_RETURN(const TokenizerAssets assets, checkpoint.ReadTokenizer());
    return ConstraintVocabulary::Create(assets, vocab);
  };
  return std::make_unique<ConstraintCompiler>(make_vocabulary, ConstraintCompiler::Options(),
                                              CheckConstraint);
}

HelloInfo Hello(const WorkerOptions& options, const Checkpoint& checkpoint, const ModelSpec& spec,
                const StepLimits& limits, const kernels::Backend& backend, const RankModel& model) {
  return {.model_name = spec.name,
          .model_fingerprint = checkpoint.fingerprint(),
          .context_tokens = spec.context_tokens,
          .world = options.group_size(),
          .total_kv_blocks = limits.kv_blocks,
          .weights_digest = model.weights_digest,
          .determinism = backend.determinism(),
          .arithmetic = backend.Arithmetic()};
}

// Goes on as before, with health NOT_SERVING, until coordinators have turned to other groups.
// Returns whether requests are to be finished after that: they are not after a second signal, or if
// the engine has ended.
bool StayALameDuck(const WorkerOptions& options, int signal, ShutdownSignal& shutdown) {
  // A person at a terminal has no coordinators to wait for.
  if (signal != SIGTERM || options.lame_duck == absl::ZeroDuration()) return true;
  LOG(INFO) << "SIGTERM: no longer SERVING, but taking requests for "
            << absl::FormatDuration(options.lame_duck) << " (--lame_duck)";
  // Only a timeout is negative.
  return shutdown.Wait(options.lame_duck) < 0;
}

// Lets requests finish until the drain timeout, a second signal or the loss of the group.
void Drain(const WorkerOptions& options, Engine& engine, const LossReport& loss,
           const ShutdownSignal& shutdown) {
  LOG(INFO) << "draining for at most " << absl::FormatDuration(options.drain_timeout)
            << " (--drain_timeout)";
  const absl::Time deadline = MonotonicClock()->Now() + options.drain_timeout;
  while (true) {
    const absl::Duration left = deadline - MonotonicClock()->Now();
    if (engine.Drain(std::min(left, kSignalInterval)) || !loss.status().ok()) return;
    if (shutdown.pending()) {
      LOG(WARNING) << "a second signal: ending the requests that are left";
      return;
    }
    if (left <= absl::ZeroDuration()) {
      LOG(WARNING) << "requests are left after --drain_timeout "
                   << absl::FormatDuration(options.drain_timeout) << ": ending them";
      return;
    }
  }
}

// To be called when the engine has been told to end. Returns the status that it ended with.
absl::Status AwaitEnd(EngineThread& engine, GroupLeader& group) {
  std::optional<absl::Status> result = engine.Wait(kStepPatience);
  if (!result.has_value()) {
    LOG(WARNING) << "breaking off the step that runs";
    // Ranks that wait for each other give up. A kernel that does not end cannot be stopped.
    group.Abandon();
    result = engine.Wait(kBreakOffPatience);
  }
  if (!result.has_value()) LOG(FATAL) << "a step hangs on this rank: ending the process";
  return *result;
}

// Runs the engine until a signal or a loss ends it; returns the loss.
absl::Status Serve(const WorkerOptions& options, const std::string& ready_line, Engine& engine,
                   GroupLeader& group, WorkerServer& server, const LossReport& loss,
                   ShutdownSignal& shutdown) {
  EngineThread thread(engine, [&shutdown] { shutdown.Notify(); });
  server.SetServing(true);
  std::cout << ready_line << std::endl;

  const int signal = shutdown.Wait();
  server.SetServing(false);
  if (signal > 0) {
    if (StayALameDuck(options, signal, shutdown)) Drain(options, engine, loss, shutdown);
  }
  if (loss.status().ok()) {
    engine.Stop();
  } else {
    engine.Fail(loss.status());
  }
  absl::Status engine_status = AwaitEnd(thread, group);
  // After the engine, which ends the sessions: so they have their last events to send.
  server.Shutdown(kServerGrace);
  RETURN_IF_ERROR(loss.status());
  return engine_status;
}

}  // namespace

absl::Status RunLeader(WorkerOptions options, const Platform& platform, ShutdownSignal& shutdown) {
  RaiseDescriptorLimit();
  ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint,
                   Checkpoint::Open(options.model_path));
  ModelSpec spec = checkpoint->spec();
  if (!options.model_name.empty()) spec.name = options.model_name;
  options.threads = ThreadsPerRank(options);
  ASSIGN_OR_RETURN(const std::unique_ptr<kernels::Backend> backend,
                   platform.make_backend({.num_threads = options.threads,
                                          .determinism = options.determinism,
                                          .kv_cache = options.kv_cache_dtype}));
  if (backend->determinism() != options.determinism) {
    LOG(INFO) << "the backend keeps determinism "
              << kernels::DeterminismName(backend->determinism()) << ", though --determinism is "
              << kernels::DeterminismName(options.determinism);
  }
  // Before any rank is started, since each would fail with the same error.
  ASSIGN_OR_RETURN(
      const MemoryPlanner planner,
      MemoryPlanner::Create(*checkpoint, options.group_size(), backend.get(), options.weights));
  ASSIGN_OR_RETURN(const MemorySource memory, platform.memory());
  ASSIGN_OR_RETURN(const StepLimits limits, planner.PlanGroup(options, memory, spec));
  if (memory.of_each_rank) {
    LOG(INFO) << "what this rank will hold:" << planner.Describe(0, limits, memory);
  }
  if (options.group_socket.empty()) options.group_socket = UnusedAbstractAddress();
  LOG(INFO) << "model " << spec.name << " (" << spec.architecture << "): " << spec.num_layers
            << " layers, hidden " << spec.hidden << ", " << spec.num_q_heads << " query and "
            << spec.num_kv_heads << " KV heads, vocabulary " << spec.vocab << ", context "
            << spec.context_tokens;

  // Both ports are bound first, so that one in use is known before anything is loaded. Coordinators
  // may connect meanwhile: they wait for the health service to say SERVING.
  auto registry = std::make_shared<prometheus::Registry>();
  EngineMetrics metrics(*registry);
  ASSIGN_OR_RETURN(const std::unique_ptr<MetricsEndpoint> endpoint,
                   MetricsEndpoint::Create(RankMetricsAddress(options, 0), "worker", registry));
  AddDeviceMetrics(platform, *endpoint);
  AddBackendMetric(*backend, *registry);
  MeasuredExecutor executor(metrics);
  Engine engine(EngineOptions(options, spec, limits), &executor, MonotonicClock(), &metrics,
                MakeConstraintCompiler(*checkpoint, spec));
  ASSIGN_OR_RETURN(const std::unique_ptr<WorkerServer> server,
                   WorkerServer::Start({.address = options.listen,
                                        .registry = registry.get(),
                                        .self_probe = {.interval = options.self_probe_interval}},
                                       &engine));

  LossReport loss;
  const auto on_lost = [&](const absl::Status& status) {
    loss.Set(status);
    shutdown.Notify();
  };
  const auto on_pulse = [&](absl::Duration silence) {
    metrics.rank_silence_seconds.Set(absl::ToDoubleSeconds(silence));
    metrics.step_age_seconds.Set(absl::ToDoubleSeconds(engine.step_age()));
  };
  ASSIGN_OR_RETURN(
      const std::unique_ptr<GroupLeader> group,
      FormGroup(options, platform, *backend, *checkpoint, limits, shutdown, on_lost, on_pulse));
  absl::StatusOr<RankModel> loaded = LoadRankModel(
      *checkpoint, spec, limits, backend.get(), group->communicator(), options.step_timeout,
      options.weights, [&] { return shutdown.pending() || !loss.status().ok(); });
  // The loss is why loading was interrupted, and says more than CANCELLED.
  RETURN_IF_ERROR(loss.status());
  ASSIGN_OR_RETURN(const RankModel model, std::move(loaded));
  RETURN_IF_ERROR(group->AwaitReady(model.decoder.get(), model.weights_digest));
  executor.Attach(*group);
  server->Announce(Hello(options, *checkpoint, spec, limits, *backend, model));
  absl::Status status = Serve(options, ReadyLine(options, server->port(), endpoint->port(), *group),
                              engine, *group, *server, loss, shutdown);
  group->Stop(kRankStopTimeout);
  return status;
}

}  // namespace phalanx
