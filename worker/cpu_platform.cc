#include "worker/cpu_platform.h"

#include "absl/status/status.h"
#include "base/free_memory.h"
#include "base/status.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/cpu_level.h"
#include "worker/comm/shm_communicator_factory.h"

namespace phalanx {

absl::StatusOr<Platform> CpuPlatform(const WorkerOptions& options) {
  if (options.activations == ActivationType::kBF16) {
    return absl::InvalidArgumentError(
        "--activations=bf16 is for GPUs; a CPU computes with int8 or f32");
  }
  ASSIGN_OR_RETURN(const kernels::CpuLevel level, kernels::ParseCpuLevel(options.cpu_level));
  Platform platform;
  const auto products = options.activations == ActivationType::kF32 ? kernels::CpuProducts::kFloat32
                                                                    : kernels::CpuProducts::kInt8;
  // Always strict: on a CPU that costs next to nothing.
  platform.make_backend = [products, level](const Platform::BackendOptions& backend) {
    return kernels::MakeCpuBackend({.num_threads = backend.num_threads,
                                    .level = level,
                                    .products = products,
                                    .kv_cache = backend.kv_cache});
  };
  platform.memory = []() -> absl::StatusOr<MemorySource> {
    return MemorySource{.free = GetFreeMemory()};
  };
  platform.communicators = std::make_unique<ShmCommunicatorFactory>();
  return platform;
}

}  // namespace phalanx
