#include "worker/model/activations.h"

#include <utility>

#include "absl/strings/str_cat.h"

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

StepArrays CarveStep(const StepLimits& limits, Carver& carver) {
  const int tokens = limits.max_step_tokens;
  const int seqs = limits.max_seqs;
  StepArrays step;
  step.token_ids = carver.Take<int32_t>(tokens);
  step.positions = carver.Take<int32_t>(tokens);
  step.seq_of_token = carver.Take<int32_t>(tokens);
  step.query_starts = carver.Take<int32_t>(seqs + 1);
  step.kv_lengths = carver.Take<int32_t>(seqs);
  step.block_tables = carver.Take<int32_t>(int64_t{seqs} * limits.max_blocks_per_seq);
  step.rope_lists = carver.Take<int32_t>(seqs);
  step.logit_rows = carver.Take<int32_t>(seqs);
  step.sampling = carver.Take<kernels::SamplingRow>(seqs);
  step.score_rows = carver.Take<int32_t>(tokens);
  step.score_targets = carver.Take<int32_t>(tokens);
  return step;
}

Activations Carve(const ModelSpec& spec, const Shard& shard, const StepLimits& limits,
                  Carver& carver) {
  const int tokens = limits.max_step_tokens;
  const int seqs = limits.max_seqs;
  const int qkv_heads = shard.q_heads.size() + 2 * shard.kv_heads.size();
  Activations a;
  a.step = CarveStep(limits, carver);
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
  // Rank 0 gathers the logits of all ranks and draws the tokens. Alone it has all logits already.
  if (shard.rank == 0) {
    a.logits = shard.world == 1 ? a.local_logits : carver.TakeMatrix(seqs, spec.vocab);
    a.tokens = carver.Take<int32_t>(seqs);
    a.log_probs = carver.Take<float>(tokens);
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
