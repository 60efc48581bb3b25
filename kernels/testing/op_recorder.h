// A backend that notes which ops are called on another one, for tests that have to show that they
// cover all ops. Each op is done when it returns, unless told otherwise.
#ifndef PHALANX_KERNELS_TESTING_OP_RECORDER_H_
#define PHALANX_KERNELS_TESTING_OP_RECORDER_H_

#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "kernels/op_list.h"
#include "kernels/ops.h"

namespace phalanx::kernels {

class OpRecorder : public Backend {
 public:
  explicit OpRecorder(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}

  // Whether an op is done when it returns.
  void set_waits(bool waits) { waits_ = waits; }

  // Ops that were called since construction.
  const std::set<Op>& called() const { return called_; }

  std::string Describe() const override { return backend_->Describe(); }
  std::string Arithmetic() const override { return backend_->Arithmetic(); }
  Determinism determinism() const override { return backend_->determinism(); }
  DType activation_dtype() const override { return backend_->activation_dtype(); }
  DType residual_dtype() const override { return backend_->residual_dtype(); }
  KvDType kv_cache_dtype() const override { return backend_->kv_cache_dtype(); }
  int DecodeBatchSize(int num_seqs) const override { return backend_->DecodeBatchSize(num_seqs); }
  std::unique_ptr<Stream> NewStream() override { return backend_->NewStream(); }
  std::unique_ptr<SpanTimer> NewSpanTimer() override { return backend_->NewSpanTimer(); }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(size_t bytes) override {
    return backend_->Allocate(bytes);
  }
  absl::StatusOr<std::unique_ptr<Buffer>> AllocateOnHost(size_t bytes) override {
    return backend_->AllocateOnHost(bytes);
  }
  bool is_asynchronous() const override { return backend_->is_asynchronous(); }
  bool can_record() const override { return backend_->can_record(); }
  absl::StatusOr<std::unique_ptr<PackedLinear>> PackLinear(
      absl::Span<const LinearSource> sources) override {
    return backend_->PackLinear(sources);
  }
  absl::StatusOr<std::unique_ptr<PackedGatedLinear>> PackGatedLinear(
      const LinearSource& gate, const LinearSource& up) override {
    return backend_->PackGatedLinear(gate, up);
  }
  absl::StatusOr<std::unique_ptr<KvCache>> AllocateKvCache(const KvCache::Shape& shape) override {
    return backend_->AllocateKvCache(shape);
  }
  size_t LinearBytes(absl::Span<const LinearSize> sources) const override {
    return backend_->LinearBytes(sources);
  }
  size_t GatedLinearBytes(const LinearSize& gate, const LinearSize& up) const override {
    return backend_->GatedLinearBytes(gate, up);
  }
  size_t KvCacheBytes(const KvCache::Shape& shape) const override {
    return backend_->KvCacheBytes(shape);
  }
  size_t WorkspaceBytes(const WorkspaceLimits& limits) const override {
    return backend_->WorkspaceBytes(limits);
  }
  absl::Status Reserve(const WorkspaceLimits& limits) override { return backend_->Reserve(limits); }
  void CopyToBackend(Stream& stream, void* to, const void* from, size_t bytes) override {
    backend_->CopyToBackend(stream, to, from, bytes);
  }
  void CopyToHost(Stream& stream, void* to, const void* from, size_t bytes) override {
    backend_->CopyToHost(stream, to, from, bytes);
  }

  void UpdateBlockTables(Stream& stream, const StepBatch& batch) override {
    Call(Op::kUpdateBlockTables, stream, [&] { backend_->UpdateBlockTables(stream, batch); });
  }
  void Embed(Stream& stream, const StepBatch& batch, const PackedLinear& table, int64_t first_row,
             Tensor out) override {
    Call(Op::kEmbed, stream, [&] { backend_->Embed(stream, batch, table, first_row, out); });
  }
  void RmsNorm(Stream& stream, Tensor x, Tensor weight, float eps, Tensor out) override {
    Call(Op::kRmsNorm, stream, [&] { backend_->RmsNorm(stream, x, weight, eps, out); });
  }
  void AddRmsNorm(Stream& stream, Tensor residual, Tensor delta, Tensor weight, float eps,
                  Tensor out) override {
    Call(Op::kAddRmsNorm, stream,
         [&] { backend_->AddRmsNorm(stream, residual, delta, weight, eps, out); });
  }
  void Linear(Stream& stream, Tensor x, const PackedLinear& w, Tensor bias, Tensor out) override {
    Call(Op::kLinear, stream, [&] { backend_->Linear(stream, x, w, bias, out); });
  }
  void LinearAdd(Stream& stream, Tensor x, const PackedLinear& w, Tensor residual) override {
    Call(Op::kLinearAdd, stream, [&] { backend_->LinearAdd(stream, x, w, residual); });
  }
  void GatedLinear(Stream& stream, Tensor x, const PackedGatedLinear& w, Tensor out) override {
    Call(Op::kGatedLinear, stream, [&] { backend_->GatedLinear(stream, x, w, out); });
  }
  void NormLinear(Stream& stream, Tensor residual, Tensor norm_weight, float eps, Tensor normed,
                  const PackedLinear& w, Tensor bias, Tensor out) override {
    Call(Op::kNormLinear, stream,
         [&] { backend_->NormLinear(stream, residual, norm_weight, eps, normed, w, bias, out); });
  }
  void NormGatedLinear(Stream& stream, Tensor residual, Tensor norm_weight, float eps,
                       Tensor normed, const PackedGatedLinear& w, Tensor out) override {
    Call(Op::kNormGatedLinear, stream,
         [&] { backend_->NormGatedLinear(stream, residual, norm_weight, eps, normed, w, out); });
  }
  void RopeAngles(Stream& stream, const StepBatch& batch, Tensor inv_freq, float factor,
                  Tensor cos_sin) override {
    Call(Op::kRopeAngles, stream,
         [&] { backend_->RopeAngles(stream, batch, inv_freq, factor, cos_sin); });
  }
  void RopeAndWriteKv(Stream& stream, const StepBatch& batch, Tensor cos_sin, int local_q_heads,
                      Tensor qkv, KvCache& cache, int layer) override {
    Call(Op::kRopeAndWriteKv, stream, [&] {
      backend_->RopeAndWriteKv(stream, batch, cos_sin, local_q_heads, qkv, cache, layer);
    });
  }
  void PagedAttention(Stream& stream, const StepBatch& batch, Tensor qkv, int local_q_heads,
                      float scale, const KvCache& cache, int layer, Tensor out) override {
    Call(Op::kPagedAttention, stream, [&] {
      backend_->PagedAttention(stream, batch, qkv, local_q_heads, scale, cache, layer, out);
    });
  }
  void RopeAttention(Stream& stream, const StepBatch& batch, Tensor cos_sin, int local_q_heads,
                     Tensor qkv, float scale, KvCache& cache, int layer, Tensor out) override {
    Call(Op::kRopeAttention, stream, [&] {
      backend_->RopeAttention(stream, batch, cos_sin, local_q_heads, qkv, scale, cache, layer, out);
    });
  }
  void GatherRows(Stream& stream, const int32_t* rows, Tensor x, Tensor out) override {
    Call(Op::kGatherRows, stream, [&] { backend_->GatherRows(stream, rows, x, out); });
  }
  void Sample(Stream& stream, const SamplingBatch& batch, Tensor logits, int32_t* tokens) override {
    Call(Op::kSample, stream, [&] { backend_->Sample(stream, batch, logits, tokens); });
  }
  void StoreLastTokens(Stream& stream, const SamplingBatch& batch, const int32_t* tokens,
                       int32_t* last_tokens) override {
    Call(Op::kStoreLastTokens, stream,
         [&] { backend_->StoreLastTokens(stream, batch, tokens, last_tokens); });
  }
  void TokenLogProbs(Stream& stream, Tensor logits, const int32_t* targets,
                     float* log_probs) override {
    Call(Op::kTokenLogProbs, stream,
         [&] { backend_->TokenLogProbs(stream, logits, targets, log_probs); });
  }
  void AdjustLogits(Stream& stream, const SamplingBatch& batch, Tensor logits,
                    int64_t first_id) override {
    Call(Op::kAdjustLogits, stream,
         [&] { backend_->AdjustLogits(stream, batch, logits, first_id); });
  }
  void RowMaxima(Stream& stream, Tensor logits, int64_t first_id, uint64_t* maxima) override {
    Call(Op::kRowMaxima, stream, [&] { backend_->RowMaxima(stream, logits, first_id, maxima); });
  }
  void CutSums(Stream& stream, const SamplingBatch& batch, Tensor logits, const SampleShard& shard,
               CutKind kind, int digit) override {
    Call(Op::kCutSums, stream,
         [&] { backend_->CutSums(stream, batch, logits, shard, kind, digit); });
  }
  void NarrowCut(Stream& stream, const SamplingBatch& batch, Tensor logits,
                 const SampleShard& shard, CutKind kind, int digit) override {
    Call(Op::kNarrowCut, stream,
         [&] { backend_->NarrowCut(stream, batch, logits, shard, kind, digit); });
  }
  void TypicalSums(Stream& stream, const SamplingBatch& batch, Tensor logits,
                   const SampleShard& shard) override {
    Call(Op::kTypicalSums, stream, [&] { backend_->TypicalSums(stream, batch, logits, shard); });
  }
  void TopLogits(Stream& stream, Tensor logits, int64_t first_id, int count,
                 uint64_t* words) override {
    Call(Op::kTopLogits, stream,
         [&] { backend_->TopLogits(stream, logits, first_id, count, words); });
  }
  void KeptWeights(Stream& stream, const SamplingBatch& batch, Tensor logits,
                   const SampleShard& shard) override {
    Call(Op::kKeptWeights, stream, [&] { backend_->KeptWeights(stream, batch, logits, shard); });
  }
  void DrawTokens(Stream& stream, const SamplingBatch& batch, Tensor logits,
                  const SampleShard& shard) override {
    Call(Op::kDrawTokens, stream, [&] { backend_->DrawTokens(stream, batch, logits, shard); });
  }
  void TakeTokens(Stream& stream, int64_t rows, const uint64_t* drawn, int32_t* tokens) override {
    Call(Op::kTakeTokens, stream, [&] { backend_->TakeTokens(stream, rows, drawn, tokens); });
  }
  void LogProbTerms(Stream& stream, Tensor logits, int64_t first_id, const int32_t* targets,
                    const uint64_t* maxima, uint64_t* terms) override {
    Call(Op::kLogProbTerms, stream,
         [&] { backend_->LogProbTerms(stream, logits, first_id, targets, maxima, terms); });
  }
  void CombineLogProbs(Stream& stream, int64_t rows, const uint64_t* maxima, const uint64_t* terms,
                       float* log_probs) override {
    Call(Op::kCombineLogProbs, stream,
         [&] { backend_->CombineLogProbs(stream, rows, maxima, terms, log_probs); });
  }

  absl::StatusOr<std::unique_ptr<Recording>> Record(
      Stream& stream, absl::FunctionRef<absl::Status()> ops) override {
    return backend_->Record(stream, ops);
  }
  void Replay(Stream& stream, const Recording& recording) override {
    backend_->Replay(stream, recording);
  }

 private:
  // Tests read the results right after an op.
  void Call(Op op, Stream& stream, absl::FunctionRef<void()> call) {
    called_.insert(op);
    call();
    if (waits_) stream.Synchronize().IgnoreError();
  }

  const std::unique_ptr<Backend> backend_;
  std::set<Op> called_;
  bool waits_ = true;
};

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_TESTING_OP_RECORDER_H_
