#include "kernels/cuda/sampling.h"

#include <algorithm>

#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/warp.h"
#include "kernels/sampling/cut.h"
#include "kernels/sampling/exp_sum.h"
#include "kernels/sampling/logit_edit.h"
#include "kernels/sampling/weight.h"

namespace phalanx::kernels::cuda {
namespace {

using Word = unsigned long long;  // What CUDA's atomic functions call a uint64_t.
static_assert(sizeof(Word) == sizeof(uint64_t));

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
static_assert(kThreads == kDigitValues, "a thread for each value of a digit");

// Logits of a row that one block takes. Sums are of integers, so cuts make no difference.
constexpr int64_t kPieceLogits = 8192;

__device__ Word* AsWord(uint64_t* word) { return reinterpret_cast<Word*>(word); }

// One row of the batch, and the piece of its logits that this block takes.
struct Row {
  int64_t index;
  const float* logits;
  int64_t begin;
  int64_t end;
};

__device__ Row RowOfBlock(const float* logits, int64_t cols) {
  const int64_t index = blockIdx.y;
  const int64_t begin = int64_t{blockIdx.x} * kPieceLogits;
  return {index, logits + index * cols, begin,
          begin + kPieceLogits < cols ? begin + kPieceLogits : cols};
}

LaunchShape Pieces(int64_t rows, int64_t cols) {
  return {.grid = dim3(static_cast<uint32_t>(std::max<int64_t>(CeilDivide(cols, kPieceLogits), 1)),
                       static_cast<uint32_t>(rows)),
          .block = dim3(kThreads)};
}
LaunchShape BlockForEach(int64_t rows) {
  return {.grid = dim3(1, static_cast<uint32_t>(rows)), .block = dim3(kThreads)};
}

__global__ void ZeroWordsKernel(uint64_t* words, int64_t count) {
  WaitForPrevious();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count) words[i] = 0;
}

void LaunchZeroWords(cudaStream_t stream, uint64_t* words, int64_t count) {
  Launch(
      stream,
      {.grid = dim3(static_cast<uint32_t>(CeilDivide(count, kThreads))), .block = dim3(kThreads)},
      ZeroWordsKernel, words, count);
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

// --- What of a token's weight counts ---

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

// --- Cuts ---

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

// --- The draw ---

// A warp for each run of a row; the blocks of a row share the runs out.
constexpr int kRunBlocks = 8;

__global__ void KeptWeightsKernel(SamplingBatch batch, const float* logits, int64_t cols,
                                  SampleShard shard) {
  WaitForPrevious();
  const int64_t row = blockIdx.y;
  const DrawnRow drawn(batch, shard, row);
  const int64_t length = RunLength(cols);
  for (int run = static_cast<int>(blockIdx.x) * kWarps + WarpId(); run < kDigitValues;
       run += kWarps * gridDim.x) {
    Word sum = 0;
    if (drawn.IsDrawn()) {
      const int64_t end = (run + 1) * length < cols ? (run + 1) * length : cols;
      for (int64_t i = run * length + LaneId(); i < end; i += kWarpSize) {
        sum += drawn.KeptWeight(logits[row * cols + i], shard.first_id + i);
      }
    }
    sum = WarpSum(sum);
    if (LaneId() == 0) {
      shard.sums[row * kDigitValues + run] = sum;
      if (sum != 0) atomicAdd(AsWord(shard.kept + row), sum);
    }
  }
}

// The first of the 32 lanes up to which, in order, `weights` sum to more than `target`; kWarpSize
// if all together do not. Takes from `target` what came before.
__device__ int FirstAbove(Word weight, Word* target) {
  Word sum = weight;  // Of the lanes up to this one.
  for (int delta = 1; delta < kWarpSize; delta *= 2) {
    const Word before = __shfl_up_sync(kAllLanes, sum, delta);
    if (LaneId() >= delta) sum += before;
  }
  const uint32_t above = __ballot_sync(kAllLanes, sum > *target);
  const int lane = above == 0 ? kWarpSize : __ffs(static_cast<int>(above)) - 1;
  const Word passed = __shfl_sync(kAllLanes, sum, above == 0 ? kWarpSize - 1 : lane);
  const Word own = __shfl_sync(kAllLanes, weight, lane % kWarpSize);
  *target -= above == 0 ? passed : passed - own;
  return lane;
}

// One warp for each row.
__global__ void DrawTokensKernel(SamplingBatch batch, const float* logits, int64_t cols,
                                 SampleShard shard) {
  WaitForPrevious();
  const int64_t row = blockIdx.y;
  const uint64_t maximum = shard.maxima[row];
  uint64_t* const to = shard.drawn + row;
  if (!HasToken(maximum) || !WantsDraw(batch.sampling[row])) {
    if (LaneId() == 0) {
      *to = HasToken(maximum)
                ? static_cast<uint64_t>(TokenWithoutDraw(batch.sampling[row], maximum)) + 1
                : 0;
    }
    return;
  }
  const DrawnRow drawn(batch, shard, row);
  const auto kept = [&](int rank) {
    return shard.kept_of_ranks[rank * int64_t{batch.num_logit_rows} + row];
  };
  uint64_t sum = 0;
  for (int rank = 0; rank < shard.world; ++rank) sum += kept(rank);
  Word target = DrawTarget(drawn.sampling, sum);
  bool is_here = true;
  for (int rank = 0; rank < shard.rank && is_here; ++rank) {
    is_here = target >= kept(rank);
    if (is_here) target -= kept(rank);
  }
  if (!is_here || target >= kept(shard.rank)) {
    if (LaneId() == 0) *to = 0;
    return;
  }
  // The run, then the token in it: 32 at a time.
  const uint64_t* const run_sums = shard.sums + row * kDigitValues;
  int run = 0;
  while (true) {
    const int lane = FirstAbove(run_sums[run + LaneId()], &target);
    run += lane;
    if (lane < kWarpSize) break;
  }
  int64_t column = run * RunLength(cols);
  while (true) {
    const int64_t i = column + LaneId();
    const Word weight =
        i < cols ? Word{drawn.KeptWeight(logits[row * cols + i], shard.first_id + i)} : Word{0};
    const int lane = FirstAbove(weight, &target);
    column += lane;
    if (lane < kWarpSize) break;
  }
  if (LaneId() == 0) *to = static_cast<uint64_t>(shard.first_id + column) + 1;
}

__global__ void TakeTokensKernel(const uint64_t* drawn, int64_t rows, int32_t* tokens) {
  WaitForPrevious();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < rows) tokens[i] = static_cast<int32_t>(drawn[i]) - 1;
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

const float* Logits(const Tensor& tensor) { return static_cast<const float*>(tensor.data); }

}  // namespace

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

void LaunchKeptWeights(cudaStream_t stream, const SamplingBatch& batch, const Tensor& logits,
                       const SampleShard& shard) {
  LaunchZeroWords(stream, shard.kept, batch.num_logit_rows);
  Launch(stream,
         {.grid = dim3(kRunBlocks, static_cast<uint32_t>(batch.num_logit_rows)),
          .block = dim3(kThreads)},
         KeptWeightsKernel, batch, Logits(logits), logits.cols, shard);
}

void LaunchDrawTokens(cudaStream_t stream, const SamplingBatch& batch, const Tensor& logits,
                      const SampleShard& shard) {
  Launch(stream,
         {.grid = dim3(1, static_cast<uint32_t>(batch.num_logit_rows)), .block = dim3(kWarpSize)},
         DrawTokensKernel, batch, Logits(logits), logits.cols, shard);
}

void LaunchTakeTokens(cudaStream_t stream, int64_t rows, const uint64_t* drawn, int32_t* tokens) {
  Launch(stream,
         {.grid = dim3(static_cast<uint32_t>(CeilDivide(rows, kThreads))), .block = dim3(kThreads)},
         TakeTokensKernel, drawn, rows, tokens);
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
