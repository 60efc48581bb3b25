// What instructions the CPU backend's kernels use.
#ifndef PHALANX_KERNELS_CPU_CPU_LEVEL_H_
#define PHALANX_KERNELS_CPU_CPU_LEVEL_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace phalanx::kernels {

enum class CpuLevel {
  kBest,        // The best that this machine has; which, Backend::Arithmetic tells.
  kPortable,    // What every machine has.
  kAvx2,        // AVX2, FMA and F16C.
  kAvx512Vnni,  // AVX-512 F, BW, DQ, VL and VNNI, and those of kAvx2.
};

// "auto", "portable", "avx2" or "avx512_vnni".
const char* CpuLevelName(CpuLevel level);

// By its name. INVALID_ARGUMENT, naming all, for another.
absl::StatusOr<CpuLevel> ParseCpuLevel(absl::string_view name);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_CPU_LEVEL_H_
