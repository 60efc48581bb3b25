// What the kernels of sampling.h share: pieces of rows of logits, and what of a token's weight
// counts. Only for sampling_*.cu.cc.
#ifndef PHALANX_KERNELS_CUDA_SAMPLING_ROWS_H_
#define PHALANX_KERNELS_CUDA_SAMPLING_ROWS_H_

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/warp.h"
#include "kernels/sample_shard.h"
#include "kernels/sampling/cut.h"
#include "kernels/sampling/weight.h"
#include "kernels/step_batch.h"
#include "kernels/tensor.h"

namespace phalanx::kernels::cuda::sampling {

using Word = unsigned long long;  // What CUDA's atomic functions call a uint64_t.
static_assert(sizeof(Word) == sizeof(uint64_t));

inline constexpr int kThreads = 256;
inline constexpr int kWarps = kThreads / kWarpSize;
static_assert(kThreads == kDigitValues, "a thread for each value of a digit");

// Logits of a row that one block takes. Sums are of integers, so cuts make no difference.
inline constexpr int64_t kPieceLogits = 8192;

__device__ inline Word* AsWord(uint64_t* word) { return reinterpret_cast<Word*>(word); }

// One row of the batch, and the piece of its logits that this block takes.
struct Row {
  int64_t index;
  const float* logits;
  int64_t begin;
  int64_t end;
};

__device__ inline Row RowOfBlock(const float* logits, int64_t cols) {
  const int64_t index = blockIdx.y;
  const int64_t begin = int64_t{blockIdx.x} * kPieceLogits;
  return {index, logits + index * cols, begin,
          begin + kPieceLogits < cols ? begin + kPieceLogits : cols};
}

inline LaunchShape Pieces(int64_t rows, int64_t cols) {
  return {.grid = dim3(static_cast<uint32_t>(std::max<int64_t>(CeilDivide(cols, kPieceLogits), 1)),
                       static_cast<uint32_t>(rows)),
          .block = dim3(kThreads)};
}
inline LaunchShape BlockForEach(int64_t rows) {
  return {.grid = dim3(1, static_cast<uint32_t>(rows)), .block = dim3(kThreads)};
}

inline const float* Logits(const Tensor& tensor) { return static_cast<const float*>(tensor.data); }

// words[0..count) = 0.
void LaunchZeroWords(cudaStream_t stream, uint64_t* words, int64_t count);

// A row that is being drawn. Its members are what RowShard has on the host.
struct DrawnRow {
  SamplingRow sampling;
  bool has_token;
  bool by_k;
  bool by_p;
  bool by_typical;
  SampleCut k;
  SampleCut p;
  SampleCut typical;
  uint64_t least_weight;
  double mean_fall;  // Once the sums of all ranks are known.
  Weights weights;

  __device__ DrawnRow(const SamplingBatch& batch, const SampleShard& shard, int64_t i)
      : sampling(batch.sampling[i]),
        has_token(HasToken(shard.maxima[i])),
        by_k(has_token && WantsCut(sampling, shard.vocab, CutKind::kTopK)),
        by_p(has_token && WantsCut(sampling, shard.vocab, CutKind::kTopP)),
        by_typical(has_token && WantsCut(sampling, shard.vocab, CutKind::kTypical)),
        least_weight(LeastWeight(sampling.min_p)),
        mean_fall(0.0),
        weights(has_token ? HighestLogit(shard.maxima[i]) : 0.0f,
                WantsDraw(sampling) ? sampling.temperature : 1.0f) {
    const SampleCut* const cuts = shard.cuts + kCutKinds * i;
    if (by_k) k = cuts[static_cast<int>(CutKind::kTopK)];
    if (by_p) p = cuts[static_cast<int>(CutKind::kTopP)];
    if (by_typical) {
      typical = cuts[static_cast<int>(CutKind::kTypical)];
      const uint64_t* const sums = shard.typical_sums + kTypicalSums * i;
      mean_fall = MeanFall(sums[0], sums[1]);
    }
  }

  __device__ bool IsDrawn() const { return has_token && WantsDraw(sampling); }
  __device__ bool HasCut(CutKind kind) const {
    if (kind == CutKind::kTopK) return by_k;
    return kind == CutKind::kTopP ? by_p : by_typical;
  }
  __device__ const SampleCut& cut(CutKind kind) const {
    if (kind == CutKind::kTopK) return k;
    return kind == CutKind::kTopP ? p : typical;
  }

  // What the cut of `kind` ranks a token by.
  __device__ uint32_t Key(CutKind kind, float logit) const {
    return kind == CutKind::kTypical ? TypicalKey(weights.Fall(logit), mean_fall) : RankKey(logit);
  }

  // What a token counts in the sums by which the cut of `kind` is found.
  __device__ uint64_t Measure(CutKind kind, float logit, int64_t id) const {
    if (kind == CutKind::kTopK) return 1;
    if (kind == CutKind::kTypical) return WeightBeforeTypical(logit, id);
    return !by_k || Keeps(k, RankKey(logit), id) ? weights(logit) : 0;
  }

  // The weight that a token has after top_k, top_p and min_p. top_p keeps only what top_k has kept.
  __device__ uint64_t WeightBeforeTypical(float logit, int64_t id) const {
    if (by_p || by_k) {
      if (!Keeps(by_p ? p : k, RankKey(logit), id)) return 0;
    }
    const uint64_t weight = weights(logit);
    return weight >= least_weight ? weight : 0;
  }

  // The weight that a token has left after all cuts.
  __device__ uint64_t KeptWeight(float logit, int64_t id) const {
    const uint64_t weight = WeightBeforeTypical(logit, id);
    if (!by_typical || weight == 0) return weight;
    return Keeps(typical, Key(CutKind::kTypical, logit), id) ? weight : 0;
  }
};

}  // namespace phalanx::kernels::cuda::sampling

#endif  // PHALANX_KERNELS_CUDA_SAMPLING_ROWS_H_
