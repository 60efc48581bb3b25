// Sums and maxima over the threads of a warp. The order of sums is fixed. Only for kernel sources.
#ifndef PHALANX_KERNELS_CUDA_WARP_H_
#define PHALANX_KERNELS_CUDA_WARP_H_

#include <cstdint>

#include "kernels/cuda/device.h"

namespace phalanx::kernels::cuda {

__device__ __forceinline__ int LaneId() { return static_cast<int>(threadIdx.x % kWarpSize); }
__device__ __forceinline__ int WarpId() { return static_cast<int>(threadIdx.x / kWarpSize); }

// All lanes get what they give if each combines its value with that of the lane whose number
// differs by 16, then by 8, 4, 2 and 1.
template <typename T, typename Combine>
__device__ __forceinline__ T CombineByShuffles(T value, Combine combine) {
#pragma unroll
  for (int mask = kWarpSize / 2; mask > 0; mask /= 2) {
    value = combine(value, __shfl_xor_sync(kAllLanes, value, mask));
  }
  return value;
}

template <typename T, typename Combine>
__device__ __forceinline__ T CombineLanes(T value, Combine combine) {
#ifdef __CUDACC__
  return CombineByShuffles(value, combine);
#else
  // An exchange is what the emulator spends most of its time with.
  return emulator::CombineByXor(value, combine);
#endif
}

// All lanes get the result.
template <typename T>
__device__ __forceinline__ T WarpSum(T value) {
  return CombineLanes(value, [](T own, T other) { return own + other; });
}

template <typename T>
__device__ __forceinline__ T WarpMax(T value) {
  return CombineLanes(value, [](T own, T other) { return other > own ? other : own; });
}

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_WARP_H_
