// Where a program gets cuBLASLt from. Programs are linked with find_cublaslt.cc, or in tests with a
// stand-in.
#ifndef PHALANX_KERNELS_CUDA_FIND_CUBLASLT_H_
#define PHALANX_KERNELS_CUDA_FIND_CUBLASLT_H_

#include "absl/status/statusor.h"
#include "kernels/cuda/cublaslt_api.h"

namespace phalanx::kernels::cuda {

// As LoadCublasLt.
absl::StatusOr<CublasLtApi> FindCublasLt();

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_FIND_CUBLASLT_H_
