// Sampling and log-probabilities on a thread team.
#ifndef PHALANX_KERNELS_CPU_SHARDED_SAMPLING_H_
#define PHALANX_KERNELS_CPU_SHARDED_SAMPLING_H_

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/thread_team.h"
#include "kernels/ops.h"
#include "kernels/sampling/logit_kernels.h"

namespace phalanx::kernels {

// What Sample and TokenLogProbs work in.
struct SamplingWords {
  SampleShard shard;                   // Of a world of one rank.
  uint64_t* log_prob_terms = nullptr;  // [rows, kLogProbTerms]
};
// Bytes for up to `rows` rows, and where things lie in them. `memory` is aligned to
// kTensorAlignment.
size_t SamplingWordsBytes(int64_t rows);
SamplingWords PlaceSamplingWords(void* memory, int64_t rows);

// The ops of kernels/ops.h; arguments as there. Rows are shared out among the threads, and where
// there are fewer rows than threads can use, so are pieces of each row: what these add up are
// integers, so that the results do not depend on the pieces.
class CpuSampling {
 public:
  // `team` is lent.
  CpuSampling(ThreadTeam* team, const LogitKernels& kernels) : team_(*team), kernels_(kernels) {}

  // Of whole rows. A thread takes all that a row needs while the row is in its cache if there are
  // rows enough for all threads.
  void Sample(const SamplingBatch& batch, Tensor logits, const SampleShard& shard,
              int32_t* tokens) const;
  void TokenLogProbs(Tensor logits, const int32_t* targets, const SamplingWords& words,
                     float* log_probs) const;

  // Of this rank's part of each row.
  void AdjustLogits(const SamplingBatch& batch, Tensor logits, int64_t first_id) const;
  void RowMaxima(Tensor logits, int64_t first_id, uint64_t* maxima) const;
  void CutSums(const SamplingBatch& batch, Tensor logits, const SampleShard& shard, CutKind kind,
               int digit) const;
  void NarrowCut(const SamplingBatch& batch, Tensor logits, const SampleShard& shard, CutKind kind,
                 int digit) const;
  void TypicalSums(const SamplingBatch& batch, Tensor logits, const SampleShard& shard) const;
  void KeptWeights(const SamplingBatch& batch, Tensor logits, const SampleShard& shard) const;
  void DrawTokens(const SamplingBatch& batch, Tensor logits, const SampleShard& shard) const;
  void TakeTokens(int64_t rows, const uint64_t* drawn, int32_t* tokens) const;
  void LogProbTerms(Tensor logits, int64_t first_id, const int32_t* targets, const uint64_t* maxima,
                    uint64_t* terms) const;
  void CombineLogProbs(int64_t rows, const uint64_t* maxima, const uint64_t* terms,
                       float* log_probs) const;
  void TopLogits(Tensor logits, int64_t first_id, int count, uint64_t* words) const;

 private:
  // All ops of a step for some rows.
  struct WholeRows;

  // Whether there are rows enough to give each thread whole ones.
  bool GivesOutRows(int64_t rows) const;
  // Calls row(i, sampling) for each row, on any thread; `sampling` runs ops on that thread alone.
  template <typename Function>
  void ForEachRowAlone(int64_t rows, Function row) const;
  // Calls row(i) for each row, on one thread if there is little to do. `row_cost` is what a row
  // costs, in logits.
  template <typename Function>
  void ForEachRow(int64_t rows, int64_t row_cost, Function row) const;
  // Into how many pieces to cut each of `rows` rows of `cols` logits.
  int64_t PiecesPerRow(int64_t rows, int64_t cols) const;
  // Calls piece(row, begin, end) for pieces [begin, end) that cover [0, cols) of each row, on any
  // thread.
  template <typename Function>
  void ForEachPiece(int64_t rows, int64_t cols, Function piece) const;

  ThreadTeam& team_;
  const LogitKernels kernels_;
};

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_SHARDED_SAMPLING_H_
