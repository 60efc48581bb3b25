#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/sampling.h"
#include "kernels/cuda/sampling_rows.h"
#include "kernels/cuda/warp.h"
#include "kernels/sampling/exp_sum.h"
#include "kernels/sampling/logit_edit.h"
#include "kernels/sampling/weight.h"

namespace phalanx::kernels::cuda {
namespace {

using namespace sampling;  // NOLINT: what these kernels are made of.

__global__ void ZeroWordsKernel(uint64_t* words, int64_t count) {
  WaitForPrevious();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count) words[i] = 0;
}

// --- Maxima ---

// All ones for a logit that is no number to draw from. A row of -infinity alone has 0, which the
// words were before.
__global__ void RowMaximaKernel(const float* logits, int64_t cols, int64_t first_id,
                                uint64_t* maxima) {
  WaitForPrevious();
  const Row row = RowOfBlock(logits, cols);
  Word max = 0;
  for (int64_t i = row.begin + threadIdx.x; i < row.end; i += kThreads) {
    const float logit = row.logits[i];
    Word word = 0;
    if (isnan(logit) || logit == INFINITY) {
      word = ~Word{0};
    } else if (logit != -INFINITY) {
      word = MaximumWord(logit, first_id + i);
    }
    max = word > max ? word : max;
  }
  max = WarpMax(max);
  if (LaneId() == 0 && max != 0) atomicMax(AsWord(maxima + row.index), max);
}

// --- Adjustments ---

// One block for each row.
__global__ void EditLogitsKernel(SamplingBatch batch, float* logits, int64_t cols,
                                 int64_t first_id) {
  WaitForPrevious();
  const int64_t i = blockIdx.y;
  const SamplingRow& row = batch.sampling[i];
  for (int e = row.edits_begin + static_cast<int>(threadIdx.x); e < row.edits_end; e += kThreads) {
    const LogitEdit edit = batch.edits[e];
    const int64_t column = edit.token - first_id;
    if (column < 0 || column >= cols) continue;
    float* const logit = logits + i * cols + column;
    *logit = EditedLogit(*logit, edit, row);
  }
}

__global__ void MaskLogitsKernel(SamplingBatch batch, float* logits, int64_t cols,
                                 int64_t first_id) {
  WaitForPrevious();
  const Row row = RowOfBlock(logits, cols);
  const int32_t mask_begin = batch.sampling[row.index].mask_begin;
  if (mask_begin == kNoMask) return;
  for (int64_t i = row.begin + threadIdx.x; i < row.end; i += kThreads) {
    if (!MaskAllows(batch.mask_words + mask_begin, first_id + i)) {
      logits[row.index * cols + i] = -INFINITY;
    }
  }
}

// --- Log-probabilities ---

__global__ void LogProbTermsKernel(const float* logits, int64_t cols, int64_t first_id,
                                   const int32_t* targets, const uint64_t* maxima,
                                   uint64_t* terms) {
  WaitForPrevious();
  const Row row = RowOfBlock(logits, cols);
  const uint64_t maximum = maxima[row.index];
  if (!HasToken(maximum)) return;
  const double highest = HighestLogit(maximum);
  uint64_t high = 0;
  uint64_t low = 0;
  for (int64_t i = row.begin + threadIdx.x; i < row.end; i += kThreads) {
    AddExponential(static_cast<double>(row.logits[i]) - highest, high, low);
  }
  high = WarpSum(high);
  low = WarpSum(low);
  uint64_t* const of_row = terms + row.index * kLogProbTerms;
  if (LaneId() == 0) {
    atomicAdd(AsWord(of_row), Word{high});
    atomicAdd(AsWord(of_row + 1), Word{low});
  }
  const int64_t target = targets[row.index] - first_id;
  if (threadIdx.x == 0 && target >= row.begin && target < row.end) {
    of_row[2] = __float_as_uint(row.logits[target]);
  }
}

__global__ void CombineLogProbsKernel(int64_t rows, const uint64_t* maxima, const uint64_t* terms,
                                      float* log_probs) {
  WaitForPrevious();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= rows) return;
  if (!HasToken(maxima[i])) {
    log_probs[i] = NAN;
    return;
  }
  const uint64_t* const of_row = terms + i * kLogProbTerms;
  const double sum =
      static_cast<double>(of_row[0]) * 0x1p-44 + static_cast<double>(of_row[1]) * 0x1p-88;
  const double logit = __uint_as_float(static_cast<uint32_t>(of_row[2]));
  log_probs[i] = static_cast<float>(logit - HighestLogit(maxima[i]) - log(sum));
}

// The highest word of a row, then the highest below it, and so on. One block for each row.
__global__ void TopLogitsKernel(const float* logits, int64_t cols, int64_t first_id, int count,
                                uint64_t* words) {
  WaitForPrevious();
  const int64_t row = blockIdx.y;
  PHALANX_SHARED Word highest[kWarps];
  Word below = ~Word{0};
  for (int j = 0; j < count; ++j) {
    Word max = 0;
    for (int64_t i = threadIdx.x; i < cols; i += kThreads) {
      const float logit = logits[row * cols + i];
      if (isnan(logit) || logit == -INFINITY) continue;
      const Word word = MaximumWord(logit, first_id + i);
      if (word < below && word > max) max = word;
    }
    max = WarpMax(max);
    if (LaneId() == 0) highest[WarpId()] = max;
    __syncthreads();
    for (int warp = 0; warp < kWarps; ++warp) max = highest[warp] > max ? highest[warp] : max;
    __syncthreads();
    if (threadIdx.x == 0) words[row * count + j] = max;
    // A word of 0 is below all others, and nothing is below it.
    below = max;
  }
}

}  // namespace

void sampling::LaunchZeroWords(cudaStream_t stream, uint64_t* words, int64_t count) {
  Launch(
      stream,
      {.grid = dim3(static_cast<uint32_t>(CeilDivide(count, kThreads))), .block = dim3(kThreads)},
      ZeroWordsKernel, words, count);
}

void LaunchRowMaxima(cudaStream_t stream, const Tensor& logits, int64_t first_id,
                     uint64_t* maxima) {
  LaunchZeroWords(stream, maxima, logits.rows);
  Launch(stream, Pieces(logits.rows, logits.cols), RowMaximaKernel, Logits(logits), logits.cols,
         first_id, maxima);
}

void LaunchAdjustLogits(cudaStream_t stream, const SamplingBatch& batch, const Tensor& logits,
                        int64_t first_id) {
  auto* const data = static_cast<float*>(logits.data);
  Launch(stream, BlockForEach(batch.num_logit_rows), EditLogitsKernel, batch, data, logits.cols,
         first_id);
  if (batch.num_mask_words == 0) return;
  Launch(stream, Pieces(batch.num_logit_rows, logits.cols), MaskLogitsKernel, batch, data,
         logits.cols, first_id);
}

void LaunchLogProbTerms(cudaStream_t stream, const Tensor& logits, int64_t first_id,
                        const int32_t* targets, const uint64_t* maxima, uint64_t* terms) {
  LaunchZeroWords(stream, terms, logits.rows * kLogProbTerms);
  Launch(stream, Pieces(logits.rows, logits.cols), LogProbTermsKernel, Logits(logits), logits.cols,
         first_id, targets, maxima, terms);
}

void LaunchCombineLogProbs(cudaStream_t stream, int64_t rows, const uint64_t* maxima,
                           const uint64_t* terms, float* log_probs) {
  Launch(stream,
         {.grid = dim3(static_cast<uint32_t>(CeilDivide(rows, kThreads))), .block = dim3(kThreads)},
         CombineLogProbsKernel, rows, maxima, terms, log_probs);
}

void LaunchTopLogits(cudaStream_t stream, const Tensor& logits, int64_t first_id, int count,
                     uint64_t* words) {
  if (count == 0) return;
  Launch(stream, BlockForEach(logits.rows), TopLogitsKernel, Logits(logits), logits.cols, first_id,
         count, words);
}

}  // namespace phalanx::kernels::cuda
