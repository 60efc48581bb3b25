// The backend of NVIDIA GPUs.
#ifndef PHALANX_KERNELS_CUDA_CUDA_BACKEND_H_
#define PHALANX_KERNELS_CUDA_CUDA_BACKEND_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/cuda/cublaslt_api.h"
#include "kernels/dtype.h"
#include "kernels/kv_dtype.h"
#include "kernels/ops.h"

namespace phalanx::kernels {

struct CudaBackendOptions {
  int device = 0;  // Of those that the process sees (CUDA_VISIBLE_DEVICES), from 0.
  // kBF16, or kF32 for results as exact as those of CPUs at a fraction of the speed.
  DType activations = DType::kBF16;
  // Backend::kv_cache_dtype; by default that of the activations.
  std::optional<KvDType> kv_cache = std::nullopt;
  Determinism determinism = Determinism::kStrict;
  // Threads of the host that put weights in order while they are loaded; at least 1.
  int loading_threads = 1;

  // At kFast, products of more rows than few are made by cuBLASLt, if it is given: those with
  // weights of the type of the activations.
  struct Library {
    cuda::CublasLtApi api;
    // Products with fewer rows are left to our own kernels, which read each weight once up to here.
    int64_t least_rows = 65;
    // The folder for what was measured about the library, see product_choices.h; empty for none.
    std::string cache_folder = {};
    // Gets lines for the log.
    std::function<void(const std::string&)> log = [](const std::string&) {};
  };
  std::optional<Library> library = std::nullopt;
};

// INVALID_ARGUMENT for other types or fewer than one thread, NOT_FOUND if there is no such device,
// FAILED_PRECONDITION if this program has no code for it, INTERNAL if it does not work. A library
// that does not work is told to its log, and done without.
absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const CudaBackendOptions& options);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CUDA_CUDA_BACKEND_H_
