#include "worker/leader.h"

#include <unistd.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/clock.h"
#include "base/host_name.h"
#include "base/log.h"
#include "base/metrics_endpoint.h"
#include "base/status.h"
#include "model/checkpoint/checkpoint.h"
#include "model/generation/engine_features.h"
#include "rpc/listener.h"
#include "worker/constraint/constraint_check.h"
#include "worker/constraint/constraint_compiler.h"
#include "worker/engine/engine.h"
#include "worker/engine/engine_metrics.h"
#include "worker/group/group_leader.h"
#include "worker/group/rank_board.h"
#include "worker/group/rank_identity.h"
#include "worker/group/unix_socket.h"
#include "worker/group_metrics.h"
#include "worker/memory_plan.h"
#include "worker/rank_links.h"
#include "worker/rank_metrics.h"
#include "worker/rank_model.h"
#include "worker/rank_state_metrics.h"
#include "worker/serve_group.h"
#include "worker/server/worker_server.h"

namespace phalanx {
namespace {

constexpr absl::Duration kRankStopTimeout = absl::Seconds(2);

// The executor of the engine. It is made before the group, because the engine needs it, and the
// server, whose port is bound first, needs the engine.
class GroupExecutor final : public StepExecutor {
 public:
  // To be called before the first step. `group` is lent.
  void Attach(GroupLeader& group) { group_ = &group; }

  int max_in_flight() const override { return group_->max_in_flight(); }
  absl::Status Submit(Step step) override { return group_->Submit(std::move(step)); }
  absl::Status SubmitForward(StepBlock forward) override {
    return group_->SubmitForward(std::move(forward));
  }
  absl::Status SubmitSampling(SamplingBlock sampling) override {
    return group_->SubmitSampling(std::move(sampling));
  }
  absl::StatusOr<StepResult> Await() override { return group_->Await(); }
  bool Recovers(const absl::Status& failure) override { return group_->Recovers(failure); }

 private:
  GroupLeader* group_ = nullptr;
};

std::string ReadyLine(const WorkerOptions& options, int grpc_port, int metrics_port,
                      const GroupLeader& group) {
  const std::string& metrics_host = options.metrics_listen.host;
  std::vector<std::string> metrics = {Dialable({metrics_host, metrics_port}).ToString()};
  const std::vector<GroupEpoch::RankInfo> ranks = group.ranks();
  for (size_t rank = 1; rank < ranks.size(); ++rank) {
    HostPort page = Dialable({metrics_host, ranks[rank].metrics_port});
    if (options.over_hosts()) page.host = ranks[rank].host;
    metrics.push_back(page.ToString());
  }
  return absl::StrCat("ready grpc=", Dialable({options.listen.host, grpc_port}).ToString(),
                      " metrics=", absl::StrJoin(metrics, ","));
}

absl::StatusOr<std::unique_ptr<GroupLeader>> FormGroup(
    const WorkerOptions& options, const Platform& platform, const kernels::Backend& backend,
    const Checkpoint& checkpoint, const StepLimits& limits, const ShutdownSignal& shutdown,
    std::function<void(const absl::Status&)> on_lost, std::function<void(absl::Duration)> on_pulse,
    RankMetrics& metrics, RankBoard& board) {
  ASSIGN_OR_RETURN(RankIdentity identity,
                   OwnIdentity(checkpoint.fingerprint(), backend, options.weights));
  ASSIGN_OR_RETURN(std::optional<RankTcp> tcp, MakeRankTcp(options.rank_links, 0));
  GroupEpoch::Options group{
      .world = options.group_size(),
      .limits = limits,
      .communicators = platform.communicators.get(),
      .identity = std::move(identity),
      .address = options.group_socket,
      .tcp = std::move(tcp),
      .rank_command = nullptr,
      .startup_timeout = options.startup_timeout,
      .stall_timeout = options.stall_timeout,
      .step_timeout = options.step_timeout,
      .steps_in_flight = options.steps_in_flight,
      .interrupt_fd = shutdown.fd(),
      .on_lost = std::move(on_lost),
      .on_pulse = std::move(on_pulse),
      .on_step = [&metrics](absl::Duration step_time,
                            const StepResult& result) { metrics.ObserveStep(step_time, result); },
      .board = &board};
  if (options.starts_ranks()) {
    group.rank_command = [&options](int rank) { return RankCommand(options, rank); };
  }
  return GroupLeader::Start({.epoch = std::move(group), .restarts = {}});
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
  const auto check = [checker = std::make_shared<ConstraintChecker>()](
                         const ConstraintSource& source, const ConstraintLimits& limits,
                         absl::Span<const std::string> named_tokens) {
    return checker->Check(source, limits, named_tokens);
  };
  return std::make_unique<ConstraintCompiler>(make_vocabulary, ConstraintCompiler::Options(),
                                              check);
}

// What this group can do. Starts a process that tries constraints, and ends it, to see whether that
// can be done.
std::vector<std::string> Features(const Checkpoint& checkpoint) {
  std::vector<std::string> features = EngineFeatures();
  absl::Status can_constrain = ConstraintChecker().Check({ConstraintKind::kRegex, "a"}, {}, {});
  if (const auto tokens = checkpoint.ReadTokenizer(); !tokens.ok()) {
    can_constrain = tokens.status();
  } else if (tokens->eos_token_ids.empty()) {
    can_constrain = absl::FailedPreconditionError("the model has no token that ends a text");
  }
  if (!can_constrain.ok()) {
    LOG(WARNING) << "answers cannot be constrained: " << can_constrain;
    std::erase(features, engine_feature::kConstraint);
  }
  return features;
}

HelloInfo Hello(const WorkerOptions& options, const Checkpoint& checkpoint, const ModelSpec& spec,
                const StepLimits& limits, const kernels::Backend& backend, const RankModel& model,
                std::vector<std::string> features) {
  return {.model_name = spec.name,
          .model_fingerprint = checkpoint.fingerprint(),
          .context_tokens = spec.context_tokens,
          .world = options.group_size(),
          .total_kv_blocks = limits.kv_blocks,
          .weights_digest = model.weights_digest,
          .determinism = backend.determinism(),
          .arithmetic = backend.Arithmetic(),
          .features = std::move(features)};
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
  RankMetrics rank_metrics(*registry);
  RankStateMetrics rank_state_metrics(*registry, options.group_size());
  RankBoard board(options.group_size());
  board.Joined(0, getpid(), MonotonicClock()->Now());
  ASSIGN_OR_RETURN(const std::unique_ptr<MetricsEndpoint> endpoint,
                   MetricsEndpoint::Create(RankMetricsAddress(options, 0), "worker", registry));
  AddDeviceMetrics(platform, *endpoint);
  AddBackendMetric(*backend, *registry);
  GroupExecutor executor;
  Engine engine(EngineOptions(options, spec, limits), &executor, MonotonicClock(), &metrics,
                MakeConstraintCompiler(*checkpoint, spec));
  ASSIGN_OR_RETURN(const std::unique_ptr<WorkerServer> server,
                   WorkerServer::Start({.address = options.listen,
                                        .registry = registry.get(),
                                        .self_probe = {.interval = options.self_probe_interval},
                                        .introspection = {.board = &board}},
                                       &engine));

  // What there is to know of a loss the group tells.
  const auto on_lost = [&](const absl::Status&) { shutdown.Notify(); };
  const auto on_pulse = [&](absl::Duration silence) {
    metrics.rank_silence_seconds.Set(absl::ToDoubleSeconds(silence));
    metrics.step_age_seconds.Set(absl::ToDoubleSeconds(engine.step_age()));
    rank_state_metrics.Update(board.Snapshot(MonotonicClock()->Now()));
  };
  ASSIGN_OR_RETURN(const std::unique_ptr<GroupLeader> group,
                   FormGroup(options, platform, *backend, *checkpoint, limits, shutdown, on_lost,
                             on_pulse, rank_metrics, board));
  // A loss that can be mended does not interrupt loading.
  const auto interrupted = [&] { return shutdown.pending() || group->loss().final; };
  absl::StatusOr<RankModel> loaded =
      LoadRankModel(*checkpoint, spec, limits, backend.get(), group->communicator(),
                    options.step_timeout, options.weights, interrupted);
  // The loss is why loading was interrupted, and says more than CANCELLED.
  if (group->loss().final) return group->loss().cause;
  ASSIGN_OR_RETURN(RankModel model, std::move(loaded));
  board.Ready(0, {.host = HostName(),
                  .weight_bytes = static_cast<int64_t>(model.weight_bytes),
                  .kv_arena_bytes = static_cast<int64_t>(model.decoder->kv_arena_bytes())});
  const auto rejoin = [&model](Communicator* communicator) -> absl::StatusOr<Decoder*> {
    ASSIGN_OR_RETURN(model.decoder, Decoder::Rejoin(std::move(model.decoder), communicator));
    return model.decoder.get();
  };
  RETURN_IF_ERROR(group->AwaitReady(model.decoder.get(), model.weights_digest, rejoin));
  executor.Attach(*group);
  server->Announce(
      Hello(options, *checkpoint, spec, limits, *backend, model, Features(*checkpoint)));
  GroupMetrics group_metrics(*registry);
  GroupServing serving(options, engine, *group, rejoin, model.weights_digest, *server,
                       group_metrics, shutdown);
  absl::Status status = serving.Run(ReadyLine(options, server->port(), endpoint->port(), *group));
  group->Stop(kRankStopTimeout);
  return status;
}

}  // namespace phalanx
