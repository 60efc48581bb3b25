// Chooses what a worker program computes with. Programs with and without GPU code are linked with
// choose_platform.cc or choose_cpu_platform.cc.
#ifndef PHALANX_WORKER_CHOOSE_PLATFORM_H_
#define PHALANX_WORKER_CHOOSE_PLATFORM_H_

#include "absl/status/statusor.h"
#include "worker/platform.h"
#include "worker/worker_options.h"

namespace phalanx {

// By --device: cpu; cuda, or the reason why that is not possible; auto, which takes GPUs if there
// are any and else the CPU, with a line in the log that says why.
absl::StatusOr<Platform> ChoosePlatform(const WorkerOptions& options);

}  // namespace phalanx

#endif  // PHALANX_WORKER_CHOOSE_PLATFORM_H_
