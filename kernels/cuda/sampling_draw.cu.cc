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

}  // namespace

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

}  // namespace phalanx::kernels::cuda
