// The ops of the CUDA backend that draw tokens and tell how likely they are.
#ifndef PHALANX_KERNELS_CUDA_SAMPLING_OPS_H_
#define PHALANX_KERNELS_CUDA_SAMPLING_OPS_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/check_tensors.h"
#include "kernels/cuda/sampling.h"
#include "kernels/cuda/workspace.h"
#include "kernels/ops.h"
#include "kernels/sampling/whole_rows.h"

namespace phalanx::kernels::cuda {

class CudaSamplingOps : public Backend {
 public:
  void AdjustLogits(Stream& stream, const SamplingBatch& batch, Tensor logits,
                    int64_t first_id) override {
    CheckTensors(Op::kAdjustLogits, {logits});
    LaunchAdjustLogits(Handle(stream), batch, logits, first_id);
  }

  // A whole row is a shard of a world of one.
  void Sample(Stream& stream, const SamplingBatch& batch, Tensor logits, int32_t* tokens) override {
    CheckTensors(Op::kSample, {logits});
    const SampleShard shard = workspace().ShardOf(Op::kSample, batch.num_logit_rows, logits.cols);
    DrawWholeRows(batch, WholeRows{*this, stream, batch, logits, shard, tokens});
  }

  void StoreLastTokens(Stream& stream, const SamplingBatch& batch, const int32_t* tokens,
                       int32_t* last_tokens) override {
    LaunchStoreLastTokens(Handle(stream), batch, tokens, last_tokens);
  }

  void TokenLogProbs(Stream& stream, Tensor logits, const int32_t* targets,
                     float* log_probs) override {
    CheckTensors(Op::kTokenLogProbs, {logits});
    const SampleShard shard = workspace().ShardOf(Op::kTokenLogProbs, logits.rows, logits.cols);
    uint64_t* const terms = workspace().log_prob_terms();
    RowMaxima(stream, logits, 0, shard.maxima);
    LogProbTerms(stream, logits, 0, targets, shard.maxima, terms);
    CombineLogProbs(stream, logits.rows, shard.maxima, terms, log_probs);
  }

  void RowMaxima(Stream& stream, Tensor logits, int64_t first_id, uint64_t* maxima) override {
    CheckTensors(Op::kRowMaxima, {logits});
    LaunchRowMaxima(Handle(stream), logits, first_id, maxima);
  }
  void CutSums(Stream& stream, const SamplingBatch& batch, Tensor logits, const SampleShard& shard,
               CutKind kind, int digit) override {
    CheckTensors(Op::kCutSums, {logits});
    LaunchCutSums(Handle(stream), batch, logits, shard, kind, digit);
  }
  void NarrowCut(Stream& stream, const SamplingBatch& batch, Tensor logits,
                 const SampleShard& shard, CutKind kind, int digit) override {
    CheckTensors(Op::kNarrowCut, {logits});
    LaunchNarrowCut(Handle(stream), batch, logits, shard, kind, digit);
  }
  void TypicalSums(Stream& stream, const SamplingBatch& batch, Tensor logits,
                   const SampleShard& shard) override {
    CheckTensors(Op::kTypicalSums, {logits});
    LaunchTypicalSums(Handle(stream), batch, logits, shard);
  }
  void KeptWeights(Stream& stream, const SamplingBatch& batch, Tensor logits,
                   const SampleShard& shard) override {
    CheckTensors(Op::kKeptWeights, {logits});
    LaunchKeptWeights(Handle(stream), batch, logits, shard);
  }
  void DrawTokens(Stream& stream, const SamplingBatch& batch, Tensor logits,
                  const SampleShard& shard) override {
    CheckTensors(Op::kDrawTokens, {logits});
    LaunchDrawTokens(Handle(stream), batch, logits, shard);
  }
  void TakeTokens(Stream& stream, int64_t rows, const uint64_t* drawn, int32_t* tokens) override {
    LaunchTakeTokens(Handle(stream), rows, drawn, tokens);
  }
  void LogProbTerms(Stream& stream, Tensor logits, int64_t first_id, const int32_t* targets,
                    const uint64_t* maxima, uint64_t* terms) override {
    CheckTensors(Op::kLogProbTerms, {logits});
    LaunchLogProbTerms(Handle(stream), logits, first_id, targets, maxima, terms);
  }
  void CombineLogProbs(Stream& stream, int64_t rows, const uint64_t* maxima, const uint64_t* terms,
                       float* log_probs) override {
    LaunchCombineLogProbs(Handle(stream), rows, maxima, terms, log_probs);
  }
  void TopLogits(Stream& stream, Tensor logits, int64_t first_id, int count,
                 uint64_t* words) override {
    CheckTensors(Op::kTopLogits, {logits});
    LaunchTopLogits(Handle(stream), logits, first_id, count, words);
  }

 protected:
  // The stream of an op.
  virtual cudaStream_t Handle(Stream& stream) = 0;
  virtual Workspace& workspace() = 0;

 private:
  // The ops of Sample, for DrawWholeRows.
  struct WholeRows {
    CudaSamplingOps& backend;
    Stream& stream;
    const SamplingBatch& batch;
    const Tensor logits;
    const SampleShard& shard;
    int32_t* const tokens;

    void RowMaxima() const { backend.RowMaxima(stream, logits, 0, shard.maxima); }
    void CutSums(CutKind kind, int digit) const {
      backend.CutSums(stream, batch, logits, shard, kind, digit);
    }
    void NarrowCut(CutKind kind, int digit) const {
      backend.NarrowCut(stream, batch, logits, shard, kind, digit);
    }
    void TypicalSums() const { backend.TypicalSums(stream, batch, logits, shard); }
    void KeptWeights() const { backend.KeptWeights(stream, batch, logits, shard); }
    void DrawTokens() const { backend.DrawTokens(stream, batch, logits, shard); }
    void TakeTokens() const {
      backend.TakeTokens(stream, batch.num_logit_rows, shard.drawn, tokens);
    }
  };
};

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_SAMPLING_OPS_H_
