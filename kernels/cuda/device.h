// What kernel sources are written in: CUDA C++, compiled by nvcc, or by the C++ compiler of the
// host, when the emulator of kernels/cuda/testing stands in for the GPU.
// Only for kernel sources (*.cu.cc) and headers that they alone include.
//
// What differs between the two has a name of its own here, in warp.h or in mma.h:
//   PHALANX_SHARED         a variable that the threads of a block share, in place of __shared__
//   DynamicShared<T>()     the shared memory that the launch asked for, aligned to 16 bytes
//   WaitForPrevious()      to be called by each kernel before it reads what an earlier one wrote
#ifndef PHALANX_KERNELS_CUDA_DEVICE_H_
#define PHALANX_KERNELS_CUDA_DEVICE_H_

#include <cstdint>

#ifndef __CUDACC__
#include "kernels/cuda/testing/builtins.h"
#else
#include <cuda_runtime.h>
#define PHALANX_SHARED __shared__
#endif

namespace phalanx::kernels::cuda {

inline constexpr int kWarpSize = 32;
inline constexpr uint32_t kAllLanes = 0xffffffff;

#ifndef __CUDACC__

template <typename T>
T* DynamicShared() {
  return static_cast<T*>(emulator::SharedMemory());
}

// A stream runs one kernel after the other.
inline void WaitForPrevious() {}

#else

template <typename T>
__device__ T* DynamicShared() {
  extern __shared__ __align__(16) unsigned char memory[];
  return reinterpret_cast<T*>(memory);
}

// From compute capability 9.0 on a kernel may begin while the one before it still runs (launch.h
// asks for that), so that its blocks are in place, and have begun to read weights, when their input
// is ready. First it lets the kernel after it do the same.
__device__ __forceinline__ void WaitForPrevious() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

#endif  // __CUDACC__

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_DEVICE_H_
