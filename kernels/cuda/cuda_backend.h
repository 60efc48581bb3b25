// The backend of NVIDIA GPUs.
#ifndef PHALANX_KERNELS_CUDA_CUDA_BACKEND_H_
#define PHALANX_KERNELS_CUDA_CUDA_BACKEND_H_

#include <memory>
#include <optional>

#include "absl/status/statusor.h"
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
};

// INVALID_ARGUMENT for other types or fewer than one thread, NOT_FOUND if there is no such device,
// FAILED_PRECONDITION if this program has no code for it, INTERNAL if it does not work.
absl::StatusOr<std::unique_ptr<Backend>> MakeCudaBackend(const CudaBackendOptions& options);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CUDA_CUDA_BACKEND_H_
