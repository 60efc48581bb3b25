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
  Tensor TakeMatrix(DType dtype, int64_t rows, int64_t cols) {
    const auto bytes = static_cast<int64_t>(kernels::RowBytes(dtype, cols)) * rows;
    return {Take<std::byte>(bytes), dtype, rows, cols};
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
                  .cuts = carver.Take<kernels::SampleCut>(kernels::kCutKinds * rows),
                  .typical_sums = carver.Take<uint64_t>(kernels::kTypicalSums * rows),
                  .sums = carver.Take<uint64_t>(rows * kernels::kDigitValues),
                  .sums_of_ranks = carver.Take<uint64_t>(world * rows * kernels::kDigitValues),
                  .kept = carver.Take<uint64_t>(rows),
                  .kept_of_ranks = carver.Take<uint64_t>(world * rows),
                  .drawn = carver.Take<uint64_t>(rows)};
  memory.log_prob_terms = carver.Take<uint64_t>(rows * kernels::kLogProbTerms);
  memory.top_words = carver.Take<uint64_t>(rows * kernels::kMaxTopLogProbs);
  memory.top_words_of_ranks = world == 1
                                  ? memory.top_words
                                  : carver.Take<uint64_t>(world * rows * kernels::kMaxTopLogProbs);
  return memory;
}

Activations Carve(const ModelSpec& spec, const Shard& shard, const StepLimits& limits,
                  const kernels::Backend& backend, Carver& carver) {
  const DType dtype = backend.activation_dtype();
  const int tokens = limits.max_step_tokens;
  const int seqs = limits.max_seqs;
  const int qkv_heads = shard.q_heads.size() + 2 * shard.kv_heads.size();
  Activations a;
  a.forward_block = carver.Take<std::byte>(StepBlock::Bytes(LargestStep(limits)));
  a.sampling_block =
      carver.Take<std::byte>(SamplingBlock::Bytes(LargestSampling(limits, spec.vocab)));
  const int slots = seqs + 1;
  a.block_tables = carver.Take<int32_t>(int64_t{slots} * limits.max_blocks_per_seq);
  a.last_tokens = carver.Take<int32_t>(slots);
  a.inv_freq = carver.TakeMatrix(DType::kF32, spec.rope.num_lists(), spec.rotary_dim / 2);
  a.cos_sin = carver.TakeMatrix(DType::kF32, tokens, spec.rotary_dim);
  a.residual = carver.TakeMatrix(backend.residual_dtype(), tokens, spec.hidden);
  a.hidden = carver.TakeMatrix(dtype, tokens, spec.hidden);
  a.qkv = carver.TakeMatrix(dtype, tokens, int64_t{qkv_heads} * spec.head_dim);
  a.attention = carver.TakeMatrix(dtype, tokens, int64_t{shard.q_heads.size()} * spec.head_dim);
  a.ffn = carver.TakeMatrix(dtype, tokens, shard.ffn.size());
  a.logit_hidden = carver.TakeMatrix(dtype, seqs, spec.hidden);
  a.local_logits = carver.TakeMatrix(DType::kF32, seqs, shard.vocab.size());
  a.tokens = carver.Take<int32_t>(seqs);
  a.log_probs = carver.Take<float>(tokens);
  a.sampler = CarveSampler(spec, shard, seqs, carver);
  return a;
}

size_t CarvedBytes(const ModelSpec& spec, const Shard& shard, const StepLimits& limits,
                   const kernels::Backend& backend) {
  Carver measure(nullptr);
  Carve(spec, shard, limits, backend, measure);
  return measure.bytes();
}

kernels::WorkspaceLimits LimitsOfWorkspace(const ModelSpec& spec, const Shard& shard,
                                           const StepLimits& limits) {
  return {.max_tokens = limits.max_step_tokens,
          .max_seqs = limits.max_seqs,
          .hidden = spec.hidden,
          .local_q_heads = shard.q_heads.size(),
          .head_dim = spec.head_dim,
          .local_ffn = shard.ffn.size(),
          .local_vocab = shard.vocab.size(),
          .max_blocks_per_seq = limits.max_blocks_per_seq};
}

// Says what did not fit, in front of the backend's message.
absl::Status Explain(const absl::Status& status, size_t bytes, const StepLimits& limits) {
  return absl::Status(status.code(),
                      absl::StrCat("activations of ", bytes, " bytes for ", limits.max_step_tokens,
                                   " tokens a step: ", status.message()));
}

}  // namespace

kernels::KvCache::Shape KvCacheShape(const ModelSpec& spec, const Shard& shard, int num_blocks,
                                     const kernels::Backend& backend) {
  return {.num_layers = spec.num_layers,
          .num_blocks = num_blocks,
          .num_kv_heads = shard.kv_heads.size(),
          .head_dim = spec.head_dim,
          .dtype = backend.kv_cache_dtype()};
}

size_t ActivationBytes(const ModelSpec& spec, const Shard& shard, const StepLimits& limits,
                       const kernels::Backend& backend) {
  return CarvedBytes(spec, shard, limits, backend) +
         backend.WorkspaceBytes(LimitsOfWorkspace(spec, shard, limits));
}

absl::StatusOr<Activations> AllocateActivations(const ModelSpec& spec, const Shard& shard,
                                                const StepLimits& limits,
                                                kernels::Backend& backend) {
  const size_t bytes = ActivationBytes(spec, shard, limits, backend);
  const kernels::WorkspaceLimits workspace = LimitsOfWorkspace(spec, shard, limits);
  if (absl::Status status = backend.Reserve(workspace); !status.ok()) {
    return Explain(status, bytes, limits);
  }
  absl::StatusOr<std::unique_ptr<kernels::Buffer>> memory =
      backend.Allocate(CarvedBytes(spec, shard, limits, backend));
  if (!memory.ok()) return Explain(memory.status(), bytes, limits);
  Carver carver(static_cast<std::byte*>((*memory)->data()));
  Activations activations = Carve(spec, shard, limits, backend, carver);
  activations.memory = *std::move(memory);
  activations.workspace_bytes = backend.WorkspaceBytes(workspace);
  return activations;
}

}  // namespace phalanx
