// Blocks that share out the segments of a sequence (attention.h): where they leave what they found,
// and how the last of them merges it. Only for kernel sources of attention.
#ifndef PHALANX_KERNELS_CUDA_SHARED_SEGMENTS_H_
#define PHALANX_KERNELS_CUDA_SHARED_SEGMENTS_H_

#include <cstdint>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/numbers.h"
#include "kernels/cuda/warp.h"

namespace phalanx::kernels::cuda::attention {

// Blocks that share out a sequence's segments. More would only begin and end where contexts are
// short; at 32 thousand tokens each has four.
inline constexpr int kSplits = 32;

// 2^x, for the exponential with the factor log2(e) taken into the scale of scores.
__device__ __forceinline__ float Exp2(float x) { return exp2f(x); }
inline constexpr float kLog2E = 1.44269504f;

// What attention over some keys gives for one query head, spread over the lanes of a warp: lane l
// has the dimensions l, l + 32, and so on, kDims of them. Scores are in units of a factor of two.
template <int kDims>
struct State {
  float max;
  float sum;
  float values[kDims];

  __device__ void Clear() {
    max = -INFINITY;
    sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kDims; ++i) values[i] = 0.0f;
  }

  // Adds what further keys give. Products and sums are rounded apart, so that it has the same bits
  // in each kernel that calls it.
  __device__ void Merge(float other_max, float other_sum, const float* other_values) {
    const float new_max = fmaxf(max, other_max);
    if (new_max == -INFINITY) return;  // No keys on either side.
    const float mine = Exp2(max - new_max);
    const float theirs = Exp2(other_max - new_max);
    sum = fmaf(sum, mine, other_sum * theirs);
#pragma unroll
    for (int i = 0; i < kDims; ++i) {
      values[i] = fmaf(values[i], mine, other_values[i] * theirs);
    }
    max = new_max;
  }
};

// How many blocks share out `segments` segments: of the gridDim.z that the launch has for them,
// those that get one.
__device__ __forceinline__ int SharingBlocks(int segments) {
  return min(static_cast<int>(gridDim.z), segments);
}

// Where the result of a segment lies: head_dim values, the highest score, the sum.
__device__ __forceinline__ float* PartialOf(const AttentionWorkspace& workspace, int64_t head,
                                            int segment, int head_dim) {
  return workspace.partials + (head * workspace.max_segments + segment) * (head_dim + 2);
}

// Whether the other ones of the `blocks` that share out the segments of this block's x and y have
// been here before: then all that they wrote to memory can be read. So it is true for one of them,
// the last. All threads of each of these blocks call it, once.
__device__ inline bool IsLastOfBlocks(const AttentionWorkspace& workspace, int blocks) {
  PHALANX_SHARED bool is_last;
  __threadfence();  // What this thread wrote is there before the block is counted.
  __syncthreads();
  if (threadIdx.x == 0) {
    const auto last = static_cast<unsigned>(blocks - 1);
    // Counts on from `last` to 0, as the next launch needs it.
    is_last = atomicInc(workspace.counters + blockIdx.x * gridDim.y + blockIdx.y, last) == last;
  }
  __syncthreads();
  __threadfence();  // Nothing is read before the count says that it is there.
  return is_last;
}

// Merges the segments of a head in order. All lanes of a warp call it.
template <int kDims>
__device__ State<kDims> MergeSegments(const AttentionWorkspace& workspace, int64_t head,
                                      int segments, int head_dim) {
  // Segments whose results are asked for at once, so that a long sequence does not wait for each.
  constexpr int kAtOnce = 32 / kDims;
  State<kDims> state;
  state.Clear();
  for (int first = 0; first < segments; first += kAtOnce) {
    State<kDims> found[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int segment = min(first + i, segments - 1);
      const float* const partial = PartialOf(workspace, head, segment, head_dim);
#pragma unroll
      for (int j = 0; j < kDims; ++j) {
        const int d = LaneId() + j * kWarpSize;
        found[i].values[j] = d < head_dim ? partial[d] : 0.0f;
      }
      found[i].max = partial[head_dim];
      found[i].sum = partial[head_dim + 1];
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (first + i < segments) state.Merge(found[i].max, found[i].sum, found[i].values);
    }
  }
  return state;
}

// Writes the output of one head. All lanes of a warp call it.
template <int kDims, typename T>
__device__ void WriteHead(const State<kDims>& state, int head_dim, T* out) {
  const float inverse = 1.0f / state.sum;
#pragma unroll
  for (int i = 0; i < kDims; ++i) {
    const int d = LaneId() + i * kWarpSize;
    if (d < head_dim) out[d] = FromFloat<T>(state.values[i] * inverse);
  }
}

}  // namespace phalanx::kernels::cuda::attention

#endif  // PHALANX_KERNELS_CUDA_SHARED_SEGMENTS_H_
