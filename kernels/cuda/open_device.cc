#include "kernels/cuda/open_device.h"

#include <cuda_runtime_api.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/cuda/cuda_memory.h"
#include "kernels/cuda/cuda_status.h"

namespace phalanx::kernels::cuda {

absl::StatusOr<Device> OpenDevice(int number) {
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count);
      error != cudaSuccess && error != cudaErrorNoDevice) {
    return CudaStatus(error, "looking for GPUs");
  }
  if (number < 0 || number >= count) {
    return absl::NotFoundError(absl::StrCat("there is no GPU ", number, ": this process sees ",
                                            count, " (CUDA_VISIBLE_DEVICES chooses)"));
  }
  if (absl::Status status = UseDevice(number); !status.ok()) return status;
  cudaDeviceProp properties;
  if (absl::Status status =
          CudaStatus(cudaGetDeviceProperties(&properties, number), "asking what GPU there is");
      !status.ok()) {
    return status;
  }
  return Device{number, properties.name, properties.major, properties.minor};
}

}  // namespace phalanx::kernels::cuda
