// For programs without GPU code.
#include "worker/choose_platform.h"
#include "worker/cpu_platform.h"

namespace phalanx {

absl::StatusOr<Platform> ChoosePlatform(const WorkerOptions& options) {
  if (options.device == DeviceKind::kCuda) {
    return absl::NotFoundError(
        "--device=cuda: this program was built without GPU code; build //worker:worker in place of "
        "//worker:worker_cpu");
  }
  return CpuPlatform(options);
}

}  // namespace phalanx
