#include "worker/choose_platform.h"

#include <utility>

#include "absl/status/status.h"
#include "base/log.h"
#include "kernels/dtype.h"
#include "worker/cpu_platform.h"
#include "worker/cuda_platform.h"

namespace phalanx {

absl::StatusOr<Platform> ChoosePlatform(const WorkerOptions& options) {
  if (options.device == DeviceKind::kCpu) return CpuPlatform(options);
  if (options.activations == ActivationType::kInt8) {
    if (options.device == DeviceKind::kAuto) return CpuPlatform(options);
    return absl::InvalidArgumentError(
        "--activations=int8 is for CPUs; a GPU computes with bf16 or f32");
  }
  absl::StatusOr<Platform> cuda = CudaPlatform(
      {.rank = options.rank,
       .world = options.group_size(),
       .devices = options.devices,
       .over_hosts = options.over_hosts(),
       .activations = options.activations == ActivationType::kF32 ? kernels::DType::kF32
                                                                  : kernels::DType::kBF16,
       .determinism = options.determinism,
       .cache_dir = options.cuda_cache_dir});
  if (cuda.ok() || options.device == DeviceKind::kCuda) return cuda;
  // Without a GPU there is nothing wrong. With one, an answer from the CPU would hide what is.
  if (!absl::IsNotFound(cuda.status())) return cuda;
  LOG(INFO) << "computing on the CPU: " << cuda.status().message();
  return CpuPlatform(options);
}

}  // namespace phalanx
