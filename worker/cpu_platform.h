// The platform of a machine without an accelerator.
#ifndef PHALANX_WORKER_CPU_PLATFORM_H_
#define PHALANX_WORKER_CPU_PLATFORM_H_

#include "absl/status/statusor.h"
#include "worker/platform.h"
#include "worker/worker_options.h"

namespace phalanx {

// Ranks compute by kernels/cpu and share memory: all of them run on one host. INVALID_ARGUMENT for
// options that only GPUs have.
absl::StatusOr<Platform> CpuPlatform(const WorkerOptions& options);

}  // namespace phalanx

#endif  // PHALANX_WORKER_CPU_PLATFORM_H_
