#include "worker/model/activations.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/step/check_step.h"

namespace phalanx {
namespace {

using kernels::DType;
using kernels::kTensorAlignment;
using kernels::Tensor;

// The bytes up to the next address that a tensor may lie at.
size_t Aligned(size_t bytes) {
  return (bytes + kTensorAlignment - 1) / kTensorAlignment * kTensorAlignment;
}

// Hands out consecutive pieces of memory, each aligned as a tensor. With a null base it only counts
// bytes, so that the size of the buffer and the addresses in it come from the same code.
class Carver {
 public:
  explicit Carver(std::byte* base) : base_(base) {}

  template <typename T>
  T* Take(int64_t count) {
    T* piece = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + bytes_);
    bytes_ += Aligned(static_cast<size_t>(count) * sizeof(T));
    return piece;
  }
  Tensor TakeMatrix(int64_t rows, int64_t cols) {
    return {Take<float>(rows * cols), DType::kF32, rows, cols};
  }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* const base_;
  size_t bytes_ = 0;
};

SamplerMemory CarveSampler(const ModelSpec& spec, const Shard& shard, int64_t rows,
                           Carver& carver) {
  const int64_t world = shard.world;
  SamplerMemory memory;
  memory.shard = {.rank = shard.rank,
                  .world = shard.world,
                  .first_id = shard.vocab.begin,
                  .vocab = spec.vocab,
                  .maxima = carver.Take<uint64_t>(rows),
                  .cuts = carver.Take<kernels::SampleCut>(2 * rows),
                  .sums = carver.Take<uint64_t>(rows * kernels::kDigitValues),
                  .sums_of_ranks = carver.Take<uint64_t>(world * rows * kernels::kDigitValues),
                  .kept = carver.Take<uint64_t>(rows),
                  .kept_of_ranks = carver.Take<uint64_t>(world * rows),
                  .drawn = carver.Take<uint64_t>(rows)};
  memory.log_prob_terms = carver.Take<uint64_t>(rows * kernels::kLogProbTerms);
  return memory;
}

Activations Carve(const ModelSpec& spec, const Shard& shard, const StepLimits& limits,
                  Carver& carver) {
  const int tokens = limits.max_step_tokens;
  const int seqs = limits.max_seqs;
  const int qkv_heads = shard.q_heads.size() + 2 * shard.kv_heads.size();
  Activations a;
  a.forward_block = carver.Take<std::byte>(StepBlock::Bytes(LargestStep(limits)));
  a.sampling_block = carver.Take<std::byte>(SamplingBlock::Bytes(LargestSampling(limits)));
  const int slots = seqs + 1;
  a.block_tables = carver.Take<int32_t>(int64_t{slots} * limits.max_blocks_per_seq);
  a.last_tokens = carver.Take<int32_t>(slots);
  a.inv_freq = carver.TakeMatrix(spec.rope.num_lists(), spec.rotary_dim / 2);
  a.cos_sin = carver.TakeMatrix(tokens, spec.rotary_dim);
  a.residual = carver.TakeMatrix(tokens, spec.hidden);
  a.hidden = carver.TakeMatrix(tokens, spec.hidden);
  a.qkv = carver.TakeMatrix(tokens, int64_t{qkv_heads} * spec.head_dim);
  a.attention = carver.TakeMatrix(tokens, int64_t{shard.q_heads.size()} * spec.head_dim);
  a.gate_up = carver.TakeMatrix(tokens, 2 * int64_t{shard.ffn.size()});
  a.ffn = carver.TakeMatrix(tokens, shard.ffn.size());
  a.logit_hidden = carver.TakeMatrix(seqs, spec.hidden);
  a.local_logits = carver.TakeMatrix(seqs, shard.vocab.size());
  a.tokens = carver.Take<int32_t>(seqs);
  a.log_probs = carver.Take<float>(tokens);
  if (shard.world > 1) {
    a.sampler = CarveSampler(spec, shard, seqs, carver);
  }
  return a;
}

}  // namespace

size_t ActivationBytes(const ModelSpec& spec, const Shard& shard, const StepLimits& limits) {
  Carver measure(nullptr);
  Carve(spec, shard, limits, measure);
  return measure.bytes();
}

absl::StatusOr<Activations> AllocateActivations(const ModelSpec& spec, const Shard& shard,
                                                const StepLimits& limits,
                                                kernels::Backend& backend) {
  const size_t bytes = ActivationBytes(spec, shard, limits);
  absl::StatusOr<std::unique_ptr<kernels::Buffer>> memory = backend.Allocate(bytes);
  if (!memory.ok()) {
    return absl::Status(
        memory.status().code(),
        absl::StrCat("activations of ", bytes, " bytes for ", limits.max_step_tokens,
                     " tokens a step: ", memory.status().message()));
  }
  Carver carver(static_cast<std::byte*>((*memory)->data()));
  Activations activations = Carve(spec, shard, limits, carver);
  activations.memory = *std::move(memory);
  return activations;
}

}  // namespace phalanx
