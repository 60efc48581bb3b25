// Launching a kernel, on a GPU or on the emulator. Only for kernel sources.
#ifndef PHALANX_KERNELS_CUDA_LAUNCH_H_
#define PHALANX_KERNELS_CUDA_LAUNCH_H_

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/device.h"

#ifndef __CUDACC__
#include "kernels/cuda/testing/emulator.h"
#endif

namespace phalanx::kernels::cuda {

struct LaunchShape {
  dim3 grid;
  dim3 block;
  size_t shared_bytes = 0;  // Of DynamicShared.
};

constexpr int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

#ifdef __CUDACC__
// Whether the current device can begin a kernel before the one ahead of it is done. One device
// belongs to a process, so it is asked once.
inline bool OverlapsKernels() {
  static const bool overlaps = [] {
    int device = 0;
    int major = 0;
    return cudaGetDevice(&device) == cudaSuccess &&
           cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) ==
               cudaSuccess &&
           major >= 9;
  }();
  return overlaps;
}
#endif

// Shared memory that a block can have on each GPU that there is code for: the T4 has the least.
inline constexpr size_t kSharedBytesAnywhere = size_t{64} << 10;

// The most shared memory that a block can have on the current device.
inline size_t MaxSharedBytes() {
  const auto ask = [] {
    int device = 0;
    int most = 0;
    const bool known = cudaGetDevice(&device) == cudaSuccess &&
                       cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin,
                                              device) == cudaSuccess;
    return known ? static_cast<size_t>(most) : size_t{48} << 10;
  };
#ifdef __CUDACC__
  static const size_t bytes = ask();
  return bytes;
#else
  return ask();  // Tests change it.
#endif
}

// Queues `kernel` on `stream`. A grid without blocks does nothing. Launch errors are sticky:
// cudaGetLastError has them. Each kernel that is launched here calls WaitForPrevious.
template <typename... Params, typename... Args>
void Launch(cudaStream_t stream, const LaunchShape& shape, void (*kernel)(Params...),
            Args... args) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
#ifndef __CUDACC__
  emulator::Launch(stream, shape.grid, shape.block, shape.shared_bytes,
                   [kernel, args...] { kernel(args...); });
#else
  cudaLaunchAttribute overlap = {};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  config.attrs = &overlap;
  config.numAttrs = OverlapsKernels() ? 1 : 0;
  cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...);
#endif
}

// Lets `kernel` have more shared memory than the 48 KiB that every launch may ask for.
template <typename Kernel>
void AllowSharedBytes(Kernel kernel, size_t bytes) {
#ifdef __CUDACC__
  cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                       cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
#endif
}

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_LAUNCH_H_
