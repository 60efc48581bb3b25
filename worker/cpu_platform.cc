#include "worker/cpu_platform.h"

#include "base/free_memory.h"
#include "kernels/cpu/cpu_backend.h"
#include "worker/comm/shm_communicator_factory.h"

namespace phalanx {

Platform CpuPlatform() {
  Platform platform;
  // Always strict: on a CPU that costs next to nothing.
  platform.make_backend = [](const Platform::BackendOptions& options) {
    return kernels::MakeCpuBackend({.num_threads = options.num_threads,
                                    .kv_cache = options.kv_cache.value_or(kernels::KvDType::kF32)});
  };
  platform.memory = []() -> absl::StatusOr<MemorySource> {
    return MemorySource{.free = GetFreeMemory()};
  };
  platform.communicators = std::make_unique<ShmCommunicatorFactory>();
  return platform;
}

}  // namespace phalanx
