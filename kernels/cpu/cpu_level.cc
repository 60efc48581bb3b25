#include "kernels/cpu/cpu_level.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace phalanx::kernels {

const char* CpuLevelName(CpuLevel level) {
  switch (level) {
    case CpuLevel::kBest:
      return "auto";
    case CpuLevel::kPortable:
      return "portable";
    case CpuLevel::kAvx2:
      return "avx2";
    case CpuLevel::kAvx512Vnni:
      return "avx512_vnni";
  }
  return "unknown";
}

absl::StatusOr<CpuLevel> ParseCpuLevel(absl::string_view name) {
  for (const CpuLevel level :
       {CpuLevel::kBest, CpuLevel::kPortable, CpuLevel::kAvx2, CpuLevel::kAvx512Vnni}) {
    if (name == CpuLevelName(level)) return level;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", name, "\" is none of auto, portable, avx2 and avx512_vnni"));
}

}  // namespace phalanx::kernels
