// The platform of machines with NVIDIA GPUs.
#ifndef PHALANX_WORKER_CUDA_PLATFORM_H_
#define PHALANX_WORKER_CUDA_PLATFORM_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/dtype.h"
#include "worker/platform.h"

namespace phalanx {

struct CudaPlatformOptions {
  int rank = 0;
  int world = 1;
  // The GPU of each rank, among those that the process sees. Empty: that of its number.
  std::vector<int> devices;
  // Ranks may be on several hosts, which have as many GPUs each as this one. Then the numbers above
  // begin again on each host.
  bool over_hosts = false;
  kernels::DType activations = kernels::DType::kBF16;
  kernels::Determinism determinism = kernels::Determinism::kStrict;
  // As WorkerOptions::cuda_cache_dir.
  std::string cache_dir = {};
};

// Ranks compute by kernels/cuda, each on a GPU, and meet by NCCL. At Determinism::kFast products of
// many rows are cuBLASLt's, if that is there; else a line in the log says why it is not. NOT_FOUND
// if there is no driver, no GPU or, for more than one rank, no NCCL; FAILED_PRECONDITION if the
// driver or NCCL is too old; INVALID_ARGUMENT if `devices` does not name a GPU of its own for each
// rank.
absl::StatusOr<Platform> CudaPlatform(const CudaPlatformOptions& options);

}  // namespace phalanx

#endif  // PHALANX_WORKER_CUDA_PLATFORM_H_
