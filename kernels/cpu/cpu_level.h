// What instructions the CPU backend's kernels use.
#ifndef PHALANX_KERNELS_CPU_CPU_LEVEL_H_
#define PHALANX_KERNELS_CPU_CPU_LEVEL_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/cpu/cpu_facts.h"

namespace phalanx::kernels {

enum class CpuLevel {
  kBest,        // The best that this machine has; which, Backend::Arithmetic tells.
  kPortable,    // What every machine has.
  kAvx2,        // AVX2, FMA and F16C.
  kAvx2Vnni,    // AVX-VNNI, the dot products of bytes that need no AVX-512, and those of kAvx2.
  kAvx512Vnni,  // AVX-512 F, BW, DQ, VL and VNNI, and those of kAvx2; BF16 is used if it is there.
  // AMX's tiles of bytes and of bfloat16 (AMX-TILE, AMX-INT8 and AMX-BF16), AVX-512 BF16, and those
  // of kAvx512Vnni.
  kAmx,
};

// All but kBest, the better ones later.
inline constexpr CpuLevel kAllCpuLevels[] = {CpuLevel::kPortable, CpuLevel::kAvx2,
                                             CpuLevel::kAvx2Vnni, CpuLevel::kAvx512Vnni,
                                             CpuLevel::kAmx};

// "auto", "portable", "avx2", "avx2_vnni", "avx512_vnni" or "amx".
const char* CpuLevelName(CpuLevel level);

// By its name. INVALID_ARGUMENT, naming all, for another.
absl::StatusOr<CpuLevel> ParseCpuLevel(absl::string_view name);

// Whether a machine has what a level takes, the permission to use tiles left aside.
// INVALID_ARGUMENT, naming what is missing, if it has not.
absl::Status CheckCpuLevel(CpuLevel level, const CpuFacts& facts);

struct ChosenCpuLevel {
  CpuLevel level = CpuLevel::kPortable;  // Not kBest.
  std::string note;  // Why it is not a better one that the processor has; empty if there is none.
};

// `wanted`, or for kBest the best level that the machine has. Tiles must be allowed by the
// operating system: `allow_tiles`, see AllowTiles, is called where they would be used, and only
// there. INVALID_ARGUMENT if the machine lacks what `wanted` takes; the error of allow_tiles if
// tiles are wanted by name. kBest does without them then, and says so in the note.
absl::StatusOr<ChosenCpuLevel> ChooseCpuLevel(CpuLevel wanted, const CpuFacts& facts,
                                              absl::FunctionRef<absl::Status()> allow_tiles);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_CPU_LEVEL_H_
