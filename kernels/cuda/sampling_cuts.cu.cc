#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/sampling.h"
#include "kernels/cuda/sampling_rows.h"
#include "kernels/cuda/warp.h"
#include "kernels/sampling/cut.h"
#include "kernels/sampling/weight.h"

namespace phalanx::kernels::cuda {
namespace {

using namespace sampling;  // NOLINT: what these kernels are made of.

__global__ void CutSumsKernel(SamplingBatch batch, const float* logits, int64_t cols,
                              SampleShard shard, CutKind kind, int digit) {
  WaitForPrevious();
  const Row row = RowOfBlock(logits, cols);
  const DrawnRow drawn(batch, shard, row.index);
  if (!drawn.HasCut(kind)) return;
  PHALANX_SHARED Word sums[kDigitValues];
  sums[threadIdx.x] = 0;
  __syncthreads();
  const uint32_t above = DigitsAbove(digit);
  const uint32_t known = digit == 0 ? 0 : drawn.cut(kind).key;
  for (int64_t i = row.begin + threadIdx.x; i < row.end; i += kThreads) {
    const float logit = row.logits[i];
    const uint32_t key = drawn.Key(kind, logit);
    if ((key & above) != known) continue;
    const uint64_t measure = drawn.Measure(kind, logit, shard.first_id + i);
    if (measure != 0) {
      atomicAdd(&sums[key >> ShiftOfDigit(digit) & (kDigitValues - 1)], Word{measure});
    }
  }
  __syncthreads();
  const Word sum = sums[threadIdx.x];
  if (sum != 0) atomicAdd(AsWord(shard.sums + row.index * kDigitValues + threadIdx.x), sum);
}

// The sums of a row over all ranks, for the last digit.
__device__ const uint64_t* SumsOf(const SamplingBatch& batch, const SampleShard& shard, int rank,
                                  int64_t row) {
  return shard.sums_of_ranks + (rank * int64_t{batch.num_logit_rows} + row) * kDigitValues;
}

// The first kThreads of this rank's tokens of just the cut's key sum up in order, then the next
// ones, until they reach what is left; see LastOfTies of sharded_sample.cc.
__device__ int32_t LastOfTies(const DrawnRow& drawn, const float* logits, int64_t cols,
                              int64_t first_id, CutKind kind, uint32_t key, uint64_t left) {
  PHALANX_SHARED Word measures[kThreads];
  PHALANX_SHARED Word remaining;
  PHALANX_SHARED int32_t last_id;
  if (threadIdx.x == 0) {
    remaining = left;
    last_id = -1;
  }
  for (int64_t first = 0; first < cols; first += kThreads) {
    const int64_t i = first + threadIdx.x;
    Word measure = 0;
    bool is_tie = false;
    if (i < cols) {
      const float logit = logits[i];
      is_tie = drawn.Key(kind, logit) == key;
      if (is_tie) measure = drawn.Measure(kind, logit, first_id + i);
    }
    // A tie that weighs nothing is not told from a token that is none: it is never the last one
    // that is kept, since left is above 0.
    measures[threadIdx.x] = is_tie ? measure : 0;
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int t = 0; t < kThreads && remaining > 0; ++t) {
        if (measures[t] == 0) continue;
        last_id = static_cast<int32_t>(first_id + first + t);
        remaining -= measures[t] < remaining ? measures[t] : remaining;
      }
    }
    __syncthreads();
    if (remaining == 0) break;
    __syncthreads();
  }
  return last_id;
}

__global__ void NarrowCutKernel(SamplingBatch batch, const float* logits, int64_t cols,
                                SampleShard shard, CutKind kind, int digit) {
  WaitForPrevious();
  const int64_t i = blockIdx.y;
  const DrawnRow drawn(batch, shard, i);
  if (!drawn.HasCut(kind)) return;
  const bool is_last = digit == kCutDigits - 1;
  PHALANX_SHARED uint64_t of_all[kDigitValues];
  PHALANX_SHARED SampleCut cut;
  PHALANX_SHARED bool searches_ties;
  if (is_last) {
    uint64_t sum = 0;
    for (int rank = 0; rank < shard.world; ++rank) {
      sum += SumsOf(batch, shard, rank, i)[threadIdx.x];
    }
    of_all[threadIdx.x] = sum;
  } else {
    of_all[threadIdx.x] = shard.sums[i * kDigitValues + threadIdx.x];
  }
  __syncthreads();
  SampleCut* const found = shard.cuts + kCutKinds * i + static_cast<int>(kind);
  if (threadIdx.x == 0) {
    cut = *found;
    const uint32_t value = FindDigit(drawn.sampling, kind, digit, of_all, &cut);
    searches_ties = false;
    if (is_last) {
      // Of the tokens with just this key, those with the lowest ids are kept, so those of the ranks
      // before this one come first.
      for (int rank = 0; rank < shard.rank; ++rank) {
        const uint64_t theirs = SumsOf(batch, shard, rank, i)[value];
        cut.left -= theirs < cut.left ? theirs : cut.left;
      }
      if (cut.left == 0) {
        cut.last_id = -1;
      } else if (SumsOf(batch, shard, shard.rank, i)[value] <= cut.left) {
        cut.last_id = 0x7fffffff;
      } else {
        searches_ties = true;
      }
    }
    *found = cut;
  }
  __syncthreads();
  if (!searches_ties) return;
  const int32_t last_id =
      LastOfTies(drawn, logits + i * cols, cols, shard.first_id, kind, cut.key, cut.left);
  if (threadIdx.x == 0) found->last_id = last_id;
}

__global__ void TypicalSumsKernel(SamplingBatch batch, const float* logits, int64_t cols,
                                  SampleShard shard) {
  WaitForPrevious();
  const Row row = RowOfBlock(logits, cols);
  const DrawnRow drawn(batch, shard, row.index);
  if (!drawn.by_typical) return;
  uint64_t weights = 0;
  uint64_t weighted_falls = 0;
  for (int64_t i = row.begin + threadIdx.x; i < row.end; i += kThreads) {
    const uint64_t weight = drawn.WeightBeforeTypical(row.logits[i], shard.first_id + i);
    if (weight == 0) continue;
    weights += weight;
    weighted_falls += WeightedFall(weight, drawn.weights.Fall(row.logits[i]));
  }
  weights = WarpSum(weights);
  weighted_falls = WarpSum(weighted_falls);
  if (LaneId() == 0) {
    uint64_t* const sums = shard.typical_sums + row.index * kTypicalSums;
    atomicAdd(AsWord(sums), Word{weights});
    atomicAdd(AsWord(sums + 1), Word{weighted_falls});
  }
}

}  // namespace

void LaunchCutSums(cudaStream_t stream, const SamplingBatch& batch, const Tensor& logits,
                   const SampleShard& shard, CutKind kind, int digit) {
  LaunchZeroWords(stream, shard.sums, int64_t{batch.num_logit_rows} * kDigitValues);
  Launch(stream, Pieces(batch.num_logit_rows, logits.cols), CutSumsKernel, batch, Logits(logits),
         logits.cols, shard, kind, digit);
}

void LaunchNarrowCut(cudaStream_t stream, const SamplingBatch& batch, const Tensor& logits,
                     const SampleShard& shard, CutKind kind, int digit) {
  Launch(stream, BlockForEach(batch.num_logit_rows), NarrowCutKernel, batch, Logits(logits),
         logits.cols, shard, kind, digit);
}

void LaunchTypicalSums(cudaStream_t stream, const SamplingBatch& batch, const Tensor& logits,
                       const SampleShard& shard) {
  LaunchZeroWords(stream, shard.typical_sums, int64_t{batch.num_logit_rows} * kTypicalSums);
  Launch(stream, Pieces(batch.num_logit_rows, logits.cols), TypicalSumsKernel, batch,
         Logits(logits), logits.cols, shard);
}

}  // namespace phalanx::kernels::cuda
