// The platform of a machine without an accelerator.
#ifndef PHALANX_WORKER_CPU_PLATFORM_H_
#define PHALANX_WORKER_CPU_PLATFORM_H_

#include "worker/platform.h"

namespace phalanx {

// Ranks compute by kernels/cpu and share memory: all of them run on one host.
Platform CpuPlatform();

}  // namespace phalanx

#endif  // PHALANX_WORKER_CPU_PLATFORM_H_
