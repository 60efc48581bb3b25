// The CUDA backend at Determinism::kFast on the emulator, with products of all but one row from the
// stand-in for cuBLASLt.
#include <vector>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/testing/cublaslt_stand_in.h"
#include "kernels/testing/op_suite.h"

namespace phalanx::kernels {

std::vector<BackendUnderTest> AllBackends() {
  return {{"CudaEmulatedFast", [] {
             return MakeCudaBackend({.activations = DType::kF32,
                                     .determinism = Determinism::kFast,
                                     .loading_threads = 2,
                                     .library = CudaBackendOptions::Library{
                                         .api = cuda::CublasLtStandIn(), .least_rows = 2}});
           }}};
}

}  // namespace phalanx::kernels
