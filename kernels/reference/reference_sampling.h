// The reference backend's ops that draw tokens and tell how likely they are: row by row, by
// kernels/sampling. Only for reference_backend.cc.
#ifndef PHALANX_KERNELS_REFERENCE_REFERENCE_SAMPLING_H_
#define PHALANX_KERNELS_REFERENCE_REFERENCE_SAMPLING_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "kernels/check_tensors.h"
#include "kernels/ops.h"
#include "kernels/sampling/adjust.h"
#include "kernels/sampling/log_prob.h"
#include "kernels/sampling/sample.h"
#include "kernels/sampling/sharded_sample.h"
#include "kernels/sampling/top_logits.h"

namespace phalanx::kernels {

class ReferenceSampling : public Backend {
 public:
  void AdjustLogits(Stream& stream, const SamplingBatch& batch, Tensor logits,
                    int64_t first_id) override {
    CheckTensors(Op::kAdjustLogits, {logits});
    for (int64_t i = 0; i < batch.num_logit_rows; ++i) {
      AdjustRow(batch, batch.sampling[i], first_id,
                {logits.f32() + i * logits.cols, static_cast<size_t>(logits.cols)});
    }
  }

  void Sample(Stream& stream, const SamplingBatch& batch, Tensor logits, int32_t* tokens) override {
    CheckTensors(Op::kSample, {logits});
    for (int i = 0; i < batch.num_logit_rows; ++i) {
      tokens[i] = SampleToken(Row(logits, i), batch.sampling[i]);
    }
  }

  void StoreLastTokens(Stream& stream, const SamplingBatch& batch, const int32_t* tokens,
                       int32_t* last_tokens) override {
    SetLastTokens(batch, tokens, last_tokens);
  }

  void TokenLogProbs(Stream& stream, Tensor logits, const int32_t* targets,
                     float* log_probs) override {
    CheckTensors(Op::kTokenLogProbs, {logits});
    for (int64_t i = 0; i < logits.rows; ++i) {
      log_probs[i] = LogProb(Row(logits, i), targets[i]);
    }
  }

  void RowMaxima(Stream& stream, Tensor logits, int64_t first_id, uint64_t* maxima) override {
    CheckTensors(Op::kRowMaxima, {logits});
    for (int64_t i = 0; i < logits.rows; ++i) maxima[i] = MaximumOf(Row(logits, i), first_id);
  }

  void CutSums(Stream& stream, const SamplingBatch& batch, Tensor logits, const SampleShard& shard,
               CutKind kind, int digit) override {
    CheckTensors(Op::kCutSums, {logits});
    for (int i = 0; i < batch.num_logit_rows; ++i) {
      uint64_t* const sums = shard.sums + i * kDigitValues;
      std::fill_n(sums, kDigitValues, 0);
      const RowShard row = RowOf(batch, logits, shard, i);
      if (!HasCut(row, kind)) continue;
      AddCutSums(row, 0, logits.cols, kind, digit, sums);
    }
  }

  void NarrowCut(Stream& stream, const SamplingBatch& batch, Tensor logits,
                 const SampleShard& shard, CutKind kind, int digit) override {
    CheckTensors(Op::kNarrowCut, {logits});
    for (int i = 0; i < batch.num_logit_rows; ++i) NarrowRow(batch, logits, shard, i, kind, digit);
  }

  void TypicalSums(Stream& stream, const SamplingBatch& batch, Tensor logits,
                   const SampleShard& shard) override {
    CheckTensors(Op::kTypicalSums, {logits});
    std::fill_n(shard.typical_sums, batch.num_logit_rows * kTypicalSums, 0);
    for (int i = 0; i < batch.num_logit_rows; ++i) {
      const RowShard row = RowOf(batch, logits, shard, i);
      if (!HasCut(row, CutKind::kTypical)) continue;
      AddTypicalSums(row, 0, logits.cols, shard.typical_sums + i * kTypicalSums);
    }
  }

  void KeptWeights(Stream& stream, const SamplingBatch& batch, Tensor logits,
                   const SampleShard& shard) override {
    CheckTensors(Op::kKeptWeights, {logits});
    for (int i = 0; i < batch.num_logit_rows; ++i) {
      const RowShard row = RowOf(batch, logits, shard, i);
      shard.kept[i] = 0;
      for (int run = 0; run < kDigitValues; ++run) {
        const uint64_t weight = KeptWeightOfRun(row, run);
        shard.sums[i * kDigitValues + run] = weight;
        shard.kept[i] += weight;
      }
    }
  }

  void DrawTokens(Stream& stream, const SamplingBatch& batch, Tensor logits,
                  const SampleShard& shard) override {
    CheckTensors(Op::kDrawTokens, {logits});
    for (int i = 0; i < batch.num_logit_rows; ++i) DrawRow(batch, logits, shard, i);
  }

  void TakeTokens(Stream& stream, int64_t rows, const uint64_t* drawn, int32_t* tokens) override {
    for (int64_t i = 0; i < rows; ++i) tokens[i] = static_cast<int32_t>(drawn[i]) - 1;
  }

  void LogProbTerms(Stream& stream, Tensor logits, int64_t first_id, const int32_t* targets,
                    const uint64_t* maxima, uint64_t* terms) override {
    CheckTensors(Op::kLogProbTerms, {logits});
    for (int64_t i = 0; i < logits.rows; ++i) {
      const auto of_row = LogProbTermsOf(Row(logits, i), first_id, targets[i], maxima[i]);
      std::copy(of_row.begin(), of_row.end(), terms + i * kLogProbTerms);
    }
  }

  void CombineLogProbs(Stream& stream, int64_t rows, const uint64_t* maxima, const uint64_t* terms,
                       float* log_probs) override {
    for (int64_t i = 0; i < rows; ++i) {
      log_probs[i] = CombinedLogProb(maxima[i], terms + i * kLogProbTerms);
    }
  }

  void TopLogits(Stream& stream, Tensor logits, int64_t first_id, int count,
                 uint64_t* words) override {
    CheckTensors(Op::kTopLogits, {logits});
    for (int64_t i = 0; i < logits.rows; ++i) {
      TopLogitsOf(Row(logits, i), first_id, {words + i * count, static_cast<size_t>(count)});
    }
  }

 private:
  static absl::Span<const float> Row(Tensor x, int64_t i) {
    return {x.f32() + i * x.cols, static_cast<size_t>(x.cols)};
  }
};

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_REFERENCE_REFERENCE_SAMPLING_H_
