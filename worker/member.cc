#include "worker/member.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/log.h"
#include "base/metrics_endpoint.h"
#include "base/status.h"
#include "model/checkpoint/checkpoint.h"
#include "worker/group/group_member.h"
#include "worker/group/rank_identity.h"
#include "worker/memory_plan.h"
#include "worker/rank_links.h"
#include "worker/rank_metrics.h"
#include "worker/rank_model.h"

namespace phalanx {
namespace {

// What a rank keeps when it leaves one group and joins the next.
struct MemberModel {
  // Of the group that it has left, if the decoder still has it.
  std::unique_ptr<Communicator> communicator = nullptr;
  RankModel model;
  StepLimits limits;
};

// The decoder for the member's communicator: made anew of what the rank has, or loaded.
absl::Status PrepareModel(const WorkerOptions& options, const Checkpoint& checkpoint,
                          const ModelSpec& spec, kernels::Backend& backend, GroupMember& member,
                          std::optional<MemberModel>& kept) {
  if (kept.has_value() && kept->limits == member.limits()) {
    ASSIGN_OR_RETURN(kept->model.decoder,
                     Decoder::Rejoin(std::move(kept->model.decoder), member.communicator()));
    kept->communicator.reset();
    return absl::OkStatus();
  }
  // There is memory for one model only.
  kept.reset();
  ASSIGN_OR_RETURN(
      RankModel model,
      LoadRankModel(checkpoint, spec, member.limits(), &backend, member.communicator(),
                    options.step_timeout, options.weights, [&] { return member.abandoned(); }));
  kept = MemberModel{.model = std::move(model), .limits = member.limits()};
  return absl::OkStatus();
}

// Serves in one epoch of the group after the other until the leader says stop.
absl::Status ServeEpochs(const WorkerOptions& options, const Checkpoint& checkpoint,
                         const ModelSpec& spec, kernels::Backend& backend, GroupMember& member,
                         RankMetrics& metrics, int metrics_port, std::optional<MemberModel>& kept) {
  const auto on_step = [&](absl::Duration step_time, const StepResult& result) {
    metrics.ObserveStep(step_time, result);
  };
  while (true) {
    if (absl::Status status = PrepareModel(options, checkpoint, spec, backend, member, kept);
        !status.ok()) {
      // A decoder that could not be made anew has taken the weights along.
      kept.reset();
      return status;
    }
    const RankModel& model = kept->model;
    RETURN_IF_ERROR(member.SendReady(*model.decoder, static_cast<int64_t>(model.weight_bytes),
                                     model.weights_digest, metrics_port));
    ASSIGN_OR_RETURN(const StepReader::End end, member.Serve(*model.decoder, on_step));
    if (end == StepReader::End::kStop) return absl::OkStatus();
    LOG(INFO) << "the epoch is over: waiting for the group to form again";
    ASSIGN_OR_RETURN(const bool goes_on, member.NextEpoch());
    if (!goes_on) return absl::OkStatus();
  }
}

// The life of a rank in the group of one leader.
absl::Status JoinAndServe(const WorkerOptions& options, const Checkpoint& checkpoint,
                          const ModelSpec& spec, const Platform& platform,
                          kernels::Backend& backend, const ShutdownSignal& shutdown,
                          RankMetrics& metrics, int metrics_port,
                          std::optional<MemberModel>& kept) {
  ASSIGN_OR_RETURN(RankIdentity identity,
                   OwnIdentity(checkpoint.fingerprint(), backend, options.weights));
  ASSIGN_OR_RETURN(std::optional<RankTcp> tcp, MakeRankTcp(options.rank_links, options.rank));
  LOG(INFO) << "joining the group at "
            << (tcp.has_value() ? tcp->address.ToString() : options.group_socket);
  ASSIGN_OR_RETURN(const std::unique_ptr<GroupMember> member,
                   GroupMember::Join({.rank = options.rank,
                                      .world = options.group_size(),
                                      .communicators = platform.communicators.get(),
                                      .identity = std::move(identity),
                                      .address = options.group_socket,
                                      .tcp = std::move(tcp),
                                      .startup_timeout = options.startup_timeout,
                                      .step_timeout = options.step_timeout,
                                      .interrupt_fd = options.supervised ? -1 : shutdown.fd()}));
  // For ranks that it started, the leader has checked this, as far as they share its memory.
  ASSIGN_OR_RETURN(const MemorySource memory, platform.memory());
  if (!kept.has_value() && (!options.supervised || memory.of_each_rank)) {
    ASSIGN_OR_RETURN(
        const MemoryPlanner planner,
        MemoryPlanner::Create(checkpoint, options.group_size(), &backend, options.weights));
    RETURN_IF_ERROR(planner.CheckRank(options.rank, member->limits(), memory));
  }
  absl::Status status =
      ServeEpochs(options, checkpoint, spec, backend, *member, metrics, metrics_port, kept);
  if (status.ok()) return status;
  // Both reasons only show as a step that was aborted or a load that was interrupted.
  if (!options.supervised && shutdown.pending()) {
    status = absl::CancelledError("told by a signal to leave the group");
  } else if (member->abandoned()) {
    status = absl::UnavailableError("the leader is gone");
  }
  member->SendFailed(status);
  if (kept.has_value()) kept->communicator = member->Leave();
  return status;
}

}  // namespace

absl::Status RunMember(const WorkerOptions& options, const Platform& platform,
                       const ShutdownSignal& shutdown) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint,
                   Checkpoint::Open(options.model_path));
  ModelSpec spec = checkpoint->spec();
  RETURN_IF_ERROR(LimitContext(options, spec));
  ASSIGN_OR_RETURN(const std::unique_ptr<kernels::Backend> backend,
                   platform.make_backend({.num_threads = ThreadsPerRank(options),
                                          .determinism = options.determinism,
                                          .kv_cache = options.kv_cache_dtype}));
  auto registry = std::make_shared<prometheus::Registry>();
  RankMetrics metrics(*registry);
  ASSIGN_OR_RETURN(
      const std::unique_ptr<MetricsEndpoint> endpoint,
      MetricsEndpoint::Create(RankMetricsAddress(options, options.rank), "worker", registry));
  AddDeviceMetrics(platform, *endpoint);
  AddBackendMetric(*backend, *registry);
  std::optional<MemberModel> kept;
  while (true) {
    absl::Status status = JoinAndServe(options, *checkpoint, spec, platform, *backend, shutdown,
                                       metrics, endpoint->port(), kept);
    // A leader that started this rank will start it again. Another one may come back, or the way to
    // it: the rank waits for that, with its weights, as it has waited at first.
    const bool rejoins = absl::IsUnavailable(status) && !options.supervised && kept.has_value();
    if (!rejoins || shutdown.pending()) return status;
    LOG(WARNING) << status.message() << ": keeping the weights and joining again";
  }
}

}  // namespace phalanx
