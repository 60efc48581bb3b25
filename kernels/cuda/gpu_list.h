// Which GPUs there are, and what can be said of them before one is used.
#ifndef PHALANX_KERNELS_CUDA_GPU_LIST_H_
#define PHALANX_KERNELS_CUDA_GPU_LIST_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace phalanx::kernels {

// How many GPUs this process sees (CUDA_VISIBLE_DEVICES), at least one. NOT_FOUND if the machine
// has no NVIDIA driver or no GPU, FAILED_PRECONDITION if the driver is too old for this program;
// the message says what was looked for.
absl::StatusOr<int> CountGpus();

struct GpuMemory {
  int64_t free = 0;
  int64_t total = 0;
};

// Of `gpu`, after this process has begun to use it, which itself takes some hundred MiB. NOT_FOUND
// if there is no such GPU.
absl::StatusOr<GpuMemory> GetGpuMemory(int gpu);

// What NVML and `nvidia-smi` know the GPU by, "0000:3b:00.0".
absl::StatusOr<std::string> GpuBusId(int gpu);

// Whether each of `gpus` can read the memory of each other one by itself. Where it cannot, data
// between them goes through the memory of the host.
absl::StatusOr<bool> AllReachEachOther(absl::Span<const int> gpus);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CUDA_GPU_LIST_H_
