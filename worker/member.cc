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
#include "worker/rank_metrics.h"
#include "worker/rank_model.h"

namespace phalanx {
namespace {

absl::Status LoadAndServe(const WorkerOptions& options, const Checkpoint& checkpoint,
                          const ModelSpec& spec, const Platform& platform,
                          kernels::Backend& backend, GroupMember& member) {
  auto registry = std::make_shared<prometheus::Registry>();
  ASSIGN_OR_RETURN(const MemorySource memory, platform.memory());
  // For ranks that it started, the leader has checked this, as far as they share its memory.
  if (!options.supervised || memory.of_each_rank) {
    ASSIGN_OR_RETURN(
        const MemoryPlanner planner,
        MemoryPlanner::Create(checkpoint, options.group_size(), &backend, options.weights));
    RETURN_IF_ERROR(planner.CheckRank(options.rank, member.limits(), memory));
  }
  RankMetrics metrics(*registry);
  ASSIGN_OR_RETURN(
      const std::unique_ptr<MetricsEndpoint> endpoint,
      MetricsEndpoint::Create(RankMetricsAddress(options, options.rank), "worker", registry));
  AddDeviceMetrics(platform, *endpoint);
  AddBackendMetric(backend, *registry);
  ASSIGN_OR_RETURN(
      const RankModel model,
      LoadRankModel(checkpoint, spec, member.limits(), &backend, member.communicator(),
                    options.step_timeout, options.weights, [&] { return member.abandoned(); }));
  RETURN_IF_ERROR(member.SendReady(*model.decoder, static_cast<int64_t>(model.weight_bytes),
                                   model.weights_digest, endpoint->port()));
  return member.Serve(*model.decoder,
                      [&](absl::Duration step_time, std::optional<absl::Duration> comm_time) {
                        metrics.ObserveStep(step_time, comm_time);
                      });
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
  ASSIGN_OR_RETURN(RankIdentity identity, OwnIdentity(checkpoint->fingerprint(), *backend));
  LOG(INFO) << "joining the group at " << options.group_socket;
  ASSIGN_OR_RETURN(const std::unique_ptr<GroupMember> member,
                   GroupMember::Join({.rank = options.rank,
                                      .world = options.group_size(),
                                      .communicators = platform.communicators.get(),
                                      .identity = std::move(identity),
                                      .address = options.group_socket,
                                      .startup_timeout = options.startup_timeout,
                                      .step_timeout = options.step_timeout,
                                      .interrupt_fd = options.supervised ? -1 : shutdown.fd()}));
  absl::Status status = LoadAndServe(options, *checkpoint, spec, platform, *backend, *member);
  if (status.ok()) return status;
  // Both reasons only show as a step that was aborted or a load that was interrupted.
  if (!options.supervised && shutdown.pending()) {
    status = absl::CancelledError("told by a signal to leave the group");
  } else if (member->abandoned()) {
    status = absl::UnavailableError("the leader is gone");
  }
  member->SendFailed(status);
  return status;
}

}  // namespace phalanx
