// The words of CUDA C++ for the C++ compiler of the host, by way of the emulator (block.h). Only
// what kernels here use.
#ifndef PHALANX_KERNELS_CUDA_TESTING_BUILTINS_H_
#define PHALANX_KERNELS_CUDA_TESTING_BUILTINS_H_

#include <cuda_runtime_api.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/cuda/testing/block.h"

// NOLINTBEGIN(bugprone-reserved-identifier): the names are CUDA's.
#undef __global__
#undef __device__
#undef __host__
#undef __forceinline__
#undef __launch_bounds__
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict

// A stream's thread runs one block at a time, and each thread of the block in turn.
#define PHALANX_SHARED static thread_local

#define threadIdx (::phalanx::kernels::cuda::emulator::CurrentThread().thread)
#define blockIdx (::phalanx::kernels::cuda::emulator::CurrentThread().block)
#define blockDim (::phalanx::kernels::cuda::emulator::CurrentThread().block_dim)
#define gridDim (::phalanx::kernels::cuda::emulator::CurrentThread().grid_dim)

inline void __syncthreads() { phalanx::kernels::cuda::emulator::SyncThreads(); }
inline void __syncwarp(uint32_t lanes = 0xffffffff) {
  phalanx::kernels::cuda::emulator::SyncWarp(lanes);
}

template <typename T>
T __shfl_sync(uint32_t lanes, T value, int lane) {
  return phalanx::kernels::cuda::emulator::Exchange(lanes, value, lane & 31);
}
template <typename T>
T __shfl_xor_sync(uint32_t lanes, T value, int mask) {
  return __shfl_sync(lanes, value,
                     static_cast<int>(phalanx::kernels::cuda::emulator::Lane()) ^ mask);
}
// A lane that has none so far below it keeps its own value.
template <typename T>
T __shfl_up_sync(uint32_t lanes, T value, unsigned delta) {
  const unsigned lane = phalanx::kernels::cuda::emulator::Lane();
  return __shfl_sync(lanes, value, static_cast<int>(lane < delta ? lane : lane - delta));
}
inline uint32_t __ballot_sync(uint32_t lanes, bool vote) {
  return phalanx::kernels::cuda::emulator::Ballot(lanes, vote);
}
inline bool __any_sync(uint32_t lanes, bool vote) { return __ballot_sync(lanes, vote) != 0; }
inline bool __all_sync(uint32_t lanes, bool vote) { return __ballot_sync(lanes, vote) == lanes; }

// Streams run at the same time as each other, so what blocks share is atomic here too.
template <typename T>
T atomicAdd(T* to, T value) {
  return std::atomic_ref<T>(*to).fetch_add(value, std::memory_order_relaxed);
}
template <typename T>
T atomicMax(T* to, T value) {
  const std::atomic_ref<T> shared(*to);
  T seen = shared.load(std::memory_order_relaxed);
  while (seen < value && !shared.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
  return seen;
}

// Counts up to `last`, then from 0 again.
inline unsigned atomicInc(unsigned* to, unsigned last) {
  const std::atomic_ref<unsigned> shared(*to);
  unsigned seen = shared.load(std::memory_order_relaxed);
  while (
      !shared.compare_exchange_weak(seen, seen >= last ? 0 : seen + 1, std::memory_order_relaxed)) {
  }
  return seen;
}
// The blocks of a grid run one after the other.
inline void __threadfence() {}

using std::isnan;
using std::max;
using std::min;
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline int __popc(unsigned x) { return std::popcount(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __uint_as_float(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t __float_as_uint(float value) { return std::bit_cast<uint32_t>(value); }
// NOLINTEND(bugprone-reserved-identifier)

#endif  // PHALANX_KERNELS_CUDA_TESTING_BUILTINS_H_
