// RMS norms of rows, taken by the threads of a block. The sum of squares of a row is added up in an
// order that depends on the number of columns alone, and each operation is rounded as it is written
// here, so a norm has the same bits in every kernel that takes it. Only for kernel sources.
#ifndef PHALANX_KERNELS_CUDA_NORM_H_
#define PHALANX_KERNELS_CUDA_NORM_H_

#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/cuda/numbers.h"
#include "kernels/cuda/warp.h"

namespace phalanx::kernels::cuda {

// Of a block that takes norms.
inline constexpr int kNormThreads = 256;
inline constexpr int kNormWarps = kNormThreads / kWarpSize;

// Elements that a thread takes at once. Where rows are not whole pieces of them, it takes single
// ones.
inline constexpr int kNormPack = 8;

// This thread's part of the sum of squares of a row.
template <int kCount, typename T>
__device__ float ThreadSquares(const T* row, int64_t cols) {
  float sum = 0.0f;
  for (int64_t i = threadIdx.x * kCount; i < cols; i += kNormThreads * kCount) {
    float x[kCount];
    LoadFloats<kCount>(row + i, x);
#pragma unroll
    for (int j = 0; j < kCount; ++j) sum = fmaf(x[j], x[j], sum);
  }
  return sum;
}

// Writes the norms of `rows` rows, at most kMaxRows. Rows of x are `cols` elements apart, those of
// `out` `out_stride`. kCount, of kNormPack and 1, divides both. All threads of the block call it;
// they see each other's results after a barrier. `out` may be x: a thread writes only what it alone
// reads.
template <int kCount, int kMaxRows, typename T, typename Out>
__device__ void NormRows(const T* x, int rows, int64_t cols, const float* weight, float eps,
                         Out* out, int64_t out_stride) {
  PHALANX_SHARED float of_warps[kMaxRows][kNormWarps];
  for (int row = 0; row < rows; ++row) {
    const float sum = WarpSum(ThreadSquares<kCount>(x + row * cols, cols));
    if (LaneId() == 0) of_warps[row][WarpId()] = sum;
  }
  __syncthreads();
  for (int row = 0; row < rows; ++row) {
    float squares = of_warps[row][0];
#pragma unroll
    for (int warp = 1; warp < kNormWarps; ++warp) squares += of_warps[row][warp];
    const float scale = 1.0f / sqrtf(squares / static_cast<float>(cols) + eps);
    for (int64_t i = threadIdx.x * kCount; i < cols; i += kNormThreads * kCount) {
      float values[kCount];
      float weights[kCount];
      LoadFloats<kCount>(x + row * cols + i, values);
      LoadFloats<kCount>(weight + i, weights);
#pragma unroll
      for (int j = 0; j < kCount; ++j) values[j] = values[j] * scale * weights[j];
      StoreFloats<kCount>(values, out + row * out_stride + i);
    }
  }
}

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_NORM_H_
