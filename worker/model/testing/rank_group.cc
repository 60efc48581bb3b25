#include "worker/model/testing/rank_group.h"

#include <bit>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "base/log.h"
#include "model/checkpoint/checkpoint.h"
#include "model/sharding/shard.h"
#include "worker/comm/shm_communicator.h"
#include "worker/weights/decoder_weights.h"

namespace phalanx {
namespace {

template <typename T>
T ValueOrDie(absl::StatusOr<T> value) {
  CHECK(value.ok()) << value.status().ToString();
  return *std::move(value);
}

// Calls work(rank) for all ranks, each on a thread of its own; rank 0 on this one.
void OnAllRanks(int world, const std::function<void(int rank)>& work) {
  std::vector<std::thread> threads;
  for (int rank = 1; rank < world; ++rank) threads.emplace_back(work, rank);
  work(0);
  for (std::thread& thread : threads) thread.join();
}

// Comparable where values may be NaN.
std::vector<uint32_t> Bits(const std::vector<float>& values) {
  std::vector<uint32_t> bits;
  bits.reserve(values.size());
  for (const float value : values) bits.push_back(std::bit_cast<uint32_t>(value));
  return bits;
}

}  // namespace

RankGroup::RankGroup(const std::string& path, int world, const StepLimits& limits,
                     const BackendFactory& make_backend)
    : RankGroup(path, limits, make_backend, MakeLocalGroup(world)) {}

RankGroup::RankGroup(const std::string& path, const StepLimits& limits,
                     const BackendFactory& make_backend,
                     std::vector<std::unique_ptr<Communicator>> comms)
    : comms_(std::move(comms)), ranks_(comms_.size()) {
  const int world = static_cast<int>(comms_.size());
  const std::unique_ptr<Checkpoint> checkpoint = ValueOrDie(Checkpoint::Open(path));
  spec_ = checkpoint->spec();
  for (int rank = 0; rank < world; ++rank) {
    const Shard shard = ValueOrDie(ShardModel(spec_, rank, world));
    ranks_[rank].backend = make_backend();
    kernels::Backend* backend = ranks_[rank].backend.get();
    DecoderWeights weights = ValueOrDie(LoadDecoderWeights(*checkpoint, spec_, shard, *backend));
    ranks_[rank].decoder = ValueOrDie(Decoder::Create(
        spec_, shard, std::move(weights), limits, backend, comms_[rank].get(), absl::Minutes(1)));
  }
}

void RankGroup::Rejoin(std::vector<std::unique_ptr<Communicator>> comms) {
  CHECK(comms.size() == ranks_.size());
  for (size_t rank = 0; rank < ranks_.size(); ++rank) {
    std::unique_ptr<Decoder>& decoder = ranks_[rank].decoder;
    decoder = ValueOrDie(Decoder::Rejoin(std::move(decoder), comms[rank].get()));
  }
  comms_ = std::move(comms);
}

absl::StatusOr<StepResult> RankGroup::Run(const Step& step) {
  std::vector<absl::StatusOr<StepResult>> results(ranks_.size());
  OnAllRanks(static_cast<int>(ranks_.size()), [&](int rank) {
    results[rank] = ranks_[rank].decoder->Run(step);
    if (results[rank].ok()) ranks_[rank].logits = results[rank]->local_logits;
  });
  for (const auto& result : results) {
    if (!result.ok()) return result.status();
    CHECK(result->tokens == results[0]->tokens) << "ranks have drawn different tokens";
    CHECK(Bits(result->log_probs) == Bits(results[0]->log_probs)) << "ranks have other scores";
  }
  return results[0];
}

std::vector<float> RankGroup::Logits(int row) {
  std::vector<float> logits;
  for (const Rank& rank : ranks_) {
    const float* const first = rank.logits.f32() + row * rank.logits.cols;
    logits.insert(logits.end(), first, first + rank.logits.cols);
  }
  return logits;
}

uint64_t RankGroup::bytes_sent() const {
  uint64_t bytes = 0;
  for (const auto& comm : comms_) bytes += comm->bytes_sent();
  return bytes;
}

}  // namespace phalanx
