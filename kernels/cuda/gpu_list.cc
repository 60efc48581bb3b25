#include "kernels/cuda/gpu_list.h"

#include <cuda_runtime_api.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_memory.h"
#include "kernels/cuda/cuda_status.h"

namespace phalanx::kernels {
namespace {

// "13.0" for 13000.
std::string VersionText(int version) {
  return absl::StrCat(version / 1000, ".", version % 1000 / 10);
}

absl::Status WhyThereIsNone(cudaError_t error) {
  int driver = 0;
  int runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (error != cudaErrorNoDevice && driver == 0) {
    return absl::NotFoundError(
        "no NVIDIA driver: libcuda.so.1 is not among the libraries that the loader finds "
        "(ldconfig -p, LD_LIBRARY_PATH)");
  }
  if (driver > 0 && driver < runtime) {
    return absl::FailedPreconditionError(
        absl::StrCat("the NVIDIA driver knows CUDA ", VersionText(driver),
                     ", this program needs CUDA ", VersionText(runtime), ": update the driver"));
  }
  if (error == cudaErrorNoDevice || error == cudaSuccess) {
    // Nobody changes the environment of this program.
    const char* const visible =
        std::getenv("CUDA_VISIBLE_DEVICES");  // NOLINT(concurrency-mt-unsafe)
    return absl::NotFoundError(absl::StrCat(
        "there is an NVIDIA driver, but this process sees no GPU (CUDA_VISIBLE_DEVICES is ",
        visible == nullptr ? "not set" : absl::StrCat("\"", visible, "\"").c_str(),
        "; in a container, see whether it was given any)"));
  }
  return cuda::CudaStatus(error, "looking for GPUs");
}

}  // namespace

absl::StatusOr<int> CountGpus() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  cudaGetLastError();  // It is told here, and is no fault of what comes after.
  if (error != cudaSuccess || count == 0) return WhyThereIsNone(error);
  return count;
}

absl::StatusOr<GpuMemory> GetGpuMemory(int gpu) {
  const absl::StatusOr<int> count = CountGpus();
  if (!count.ok()) return count.status();
  if (gpu < 0 || gpu >= *count) {
    return absl::NotFoundError(
        absl::StrCat("there is no GPU ", gpu, ": this process sees ", *count));
  }
  if (absl::Status status = cuda::UseDevice(gpu); !status.ok()) return status;
  size_t free = 0;
  size_t total = 0;
  const absl::Status status =
      cuda::CudaStatus(cudaMemGetInfo(&free, &total), "asking how much memory a GPU has");
  if (!status.ok()) return status;
  return GpuMemory{static_cast<int64_t>(free), static_cast<int64_t>(total)};
}

absl::StatusOr<std::string> GpuBusId(int gpu) {
  char id[32] = {};
  const absl::Status status =
      cuda::CudaStatus(cudaDeviceGetPCIBusId(id, sizeof(id), gpu), "asking where a GPU is");
  if (!status.ok()) return status;
  return std::string(id);
}

absl::StatusOr<bool> AllReachEachOther(absl::Span<const int> gpus) {
  for (const int from : gpus) {
    for (const int to : gpus) {
      if (from == to) continue;
      int can = 0;
      const absl::Status status = cuda::CudaStatus(cudaDeviceCanAccessPeer(&can, from, to),
                                                   "asking which GPUs reach each other");
      if (!status.ok()) return status;
      if (can == 0) return false;
    }
  }
  return true;
}

}  // namespace phalanx::kernels
