// Sums and maxima over the threads of a warp. The order of sums is fixed. Only for kernel sources.
#ifndef PHALANX_KERNELS_CUDA_WARP_H_
#define PHALANX_KERNELS_CUDA_WARP_H_

#include <cstdint>

#include "kernels/cuda/device.h"

namespace phalanx::kernels::cuda {

__device__ __forceinline__ int LaneId() { return static_cast<int>(threadIdx.x % kWarpSize); }
__device__ __forceinline__ int WarpId() { return static_cast<int>(threadIdx.x / kWarpSize); }

// All lanes get the result.
template <typename T>
__device__ __forceinline__ T WarpSum(T value) {
#pragma unroll
  for (int mask = kWarpSize / 2; mask > 0; mask /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, mask);
  }
  return value;
}

template <typename T>
__device__ __forceinline__ T WarpMax(T value) {
#pragma unroll
  for (int mask = kWarpSize / 2; mask > 0; mask /= 2) {
    const T other = __shfl_xor_sync(kAllLanes, value, mask);
    value = other > value ? other : value;
  }
  return value;
}

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_WARP_H_
