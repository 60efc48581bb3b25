#include "worker/bench/bench_model.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "kernels/dtype.h"
#include "model/checkpoint/checkpoint.h"
#include "model/sharding/shard.h"
#include "worker/bench/synthetic_model.h"
#include "worker/group/rank_identity.h"
#include "worker/group/unix_socket.h"
#include "worker/memory_plan.h"
#include "worker/model/activations.h"

namespace phalanx {
namespace {

constexpr absl::Duration kStopTimeout = absl::Seconds(2);

// The worker's options with that KV cache, which may not hold a whole context of the model.
WorkerOptions WithKvCache(const WorkerOptions& options, int64_t tokens) {
  WorkerOptions result = options;
  result.kv_cache_tokens = static_cast<int>(tokens);
  return result;
}

}  // namespace

BenchModel::BenchModel(const BenchOptions& options, const Platform& platform,
                       const ShutdownSignal& shutdown)
    : options_(options), platform_(platform), shutdown_(shutdown), worker_(options.worker) {}

BenchModel::~BenchModel() {
  // The group uses the decoder until it is stopped.
  if (group_ != nullptr) group_->Stop(kStopTimeout);
}

absl::StatusOr<std::unique_ptr<BenchModel>> BenchModel::Load(const BenchOptions& options,
                                                             const std::vector<int64_t>& kv_tokens,
                                                             const Platform& platform,
                                                             const ShutdownSignal& shutdown) {
  std::unique_ptr<BenchModel> model(new BenchModel(options, platform, shutdown));
  RETURN_IF_ERROR(model->Init(kv_tokens));
  return model;
}

double BenchModel::kv_bytes_per_token() const {
  const kernels::KvCache::Shape block = {.num_layers = spec_.num_layers,
                                         .num_blocks = 1,
                                         .num_kv_heads = spec_.num_kv_heads,
                                         .head_dim = spec_.head_dim,
                                         .dtype = backend_->kv_cache_dtype()};
  return static_cast<double>(backend_->KvCacheBytes(block)) / kernels::kKvBlockTokens;
}

absl::Status BenchModel::Init(const std::vector<int64_t>& kv_tokens) {
  threads_ = worker_.threads = ThreadsPerRank(worker_);
  ASSIGN_OR_RETURN(backend_, platform_.make_backend({.num_threads = worker_.threads,
                                                     .determinism = worker_.determinism,
                                                     .kv_cache = worker_.kv_cache_dtype}));
  if (worker_.group_socket.empty()) worker_.group_socket = UnusedAbstractAddress();
  RETURN_IF_ERROR(options_.synthetic.empty() ? LoadFile(kv_tokens) : MakeSynthetic(kv_tokens));
  const auto rejoin = [this](Communicator* communicator) -> absl::StatusOr<Decoder*> {
    ASSIGN_OR_RETURN(model_.decoder, Decoder::Rejoin(std::move(model_.decoder), communicator));
    return model_.decoder.get();
  };
  RETURN_IF_ERROR(group_->AwaitReady(model_.decoder.get(), model_.weights_digest, rejoin));
  weight_bytes_ = static_cast<double>(model_.weight_bytes - model_.lookup_bytes);
  // What other ranks hold of a table that is only looked up in is taken to be as large a part.
  const double read_part = weight_bytes_ / static_cast<double>(model_.weight_bytes);
  for (const GroupEpoch::RankInfo& rank : group_->ranks()) {
    weight_bytes_ += read_part * static_cast<double>(rank.weight_bytes);
  }
  return absl::OkStatus();
}

absl::Status BenchModel::StartGroup(const std::string& fingerprint) {
  ASSIGN_OR_RETURN(RankIdentity identity, OwnIdentity(fingerprint, *backend_, worker_.weights));
  GroupEpoch::Options group{.world = worker_.group_size(),
                            .limits = limits_,
                            .communicators = platform_.communicators.get(),
                            .identity = std::move(identity),
                            .address = worker_.group_socket,
                            .rank_command = nullptr,
                            .startup_timeout = worker_.startup_timeout,
                            .stall_timeout = worker_.stall_timeout,
                            .step_timeout = worker_.step_timeout,
                            .steps_in_flight = worker_.steps_in_flight,
                            .interrupt_fd = shutdown_.fd()};
  // This program is the other ranks too, as the worker is.
  group.rank_command = [this](int rank) { return RankCommand(worker_, rank); };
  ASSIGN_OR_RETURN(group_, GroupLeader::Start({.epoch = std::move(group), .restarts = {}}));
  return absl::OkStatus();
}

absl::Status BenchModel::LoadFile(const std::vector<int64_t>& kv_tokens) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Checkpoint> checkpoint,
                   Checkpoint::Open(worker_.model_path));
  ASSIGN_OR_RETURN(
      const MemoryPlanner planner,
      MemoryPlanner::Create(*checkpoint, worker_.group_size(), backend_.get(), worker_.weights));
  ASSIGN_OR_RETURN(const MemorySource memory, platform_.memory());
  absl::StatusOr<StepLimits> limits = absl::ResourceExhaustedError("nothing to measure");
  for (const int64_t tokens : kv_tokens) {
    spec_ = checkpoint->spec();
    const WorkerOptions planned = WithKvCache(worker_, tokens);
    limits = planner.PlanGroup(planned, memory, spec_);
    if (limits.ok()) worker_ = planned;
    if (!absl::IsResourceExhausted(limits.status())) break;
  }
  ASSIGN_OR_RETURN(limits_, std::move(limits));
  RETURN_IF_ERROR(StartGroup(checkpoint->fingerprint()));
  ASSIGN_OR_RETURN(model_, LoadRankModel(*checkpoint, spec_, limits_, backend_.get(),
                                         group_->communicator(), worker_.step_timeout,
                                         worker_.weights, [this] { return shutdown_.pending(); }));
  return absl::OkStatus();
}

absl::Status BenchModel::MakeSynthetic(const std::vector<int64_t>& kv_tokens) {
  spec_ = SyntheticSpec(options_.synthetic);
  const ModelSpec unlimited = spec_;
  ASSIGN_OR_RETURN(const Shard shard, ShardModel(spec_, 0, 1));
  LOG(INFO) << "making random weights: " << spec_.name << ", " << options_.synthetic_type;
  ASSIGN_OR_RETURN(DecoderWeights weights,
                   SyntheticWeights(spec_, SyntheticType(options_.synthetic_type), *backend_));
  model_.weight_bytes = weights.bytes;
  model_.weights_digest = "synthetic";
  ASSIGN_OR_RETURN(const MemorySource memory, platform_.memory());
  bool fits = false;
  for (const int64_t tokens : kv_tokens) {
    spec_ = unlimited;
    const WorkerOptions planned = WithKvCache(worker_, tokens);
    RETURN_IF_ERROR(LimitContext(planned, spec_));
    ASSIGN_OR_RETURN(limits_, MakeStepLimits(planned, spec_));
    const auto kv_bytes = static_cast<int64_t>(
        backend_->KvCacheBytes(KvCacheShape(spec_, shard, NumKvCacheBlocks(limits_), *backend_)));
    const auto activations =
        static_cast<int64_t>(ActivationBytes(spec_, shard, limits_, *backend_));
    fits = kv_bytes + activations + memory.overhead <= memory.free.least();
    if (fits) break;
  }
  if (!fits) return absl::ResourceExhaustedError("no memory is left for a KV cache");
  RETURN_IF_ERROR(StartGroup(absl::StrCat(options_.synthetic, options_.synthetic_type)));
  ASSIGN_OR_RETURN(model_.decoder,
                   Decoder::Create(spec_, shard, std::move(weights), limits_, backend_.get(),
                                   group_->communicator(), worker_.step_timeout));
  return absl::OkStatus();
}

}  // namespace phalanx
