// Errors of the CUDA runtime as statuses.
#ifndef PHALANX_KERNELS_CUDA_CUDA_STATUS_H_
#define PHALANX_KERNELS_CUDA_CUDA_STATUS_H_

#include <cuda_runtime_api.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace phalanx::kernels::cuda {

// OK for cudaSuccess. RESOURCE_EXHAUSTED if memory ran out, else INTERNAL; the message says what
// was being done, CUDA's name and words for the error, and for errors after which the device can no
// longer be used by this process what usually causes them.
absl::Status CudaStatus(cudaError_t error, absl::string_view doing);

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_CUDA_STATUS_H_
