#include "kernels/cpu/cpu_level.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace phalanx::kernels {
namespace {

// Names of what a level takes and the machine has not.
std::vector<const char*> Missing(CpuLevel level, const CpuFacts& facts) {
  std::vector<const char*> missing;
  const auto need = [&](bool has, const char* name) {
    if (!has) missing.push_back(name);
  };
  if (level == CpuLevel::kBest || level == CpuLevel::kPortable) return missing;
  need(facts.avx2, "AVX2");
  need(facts.fma, "FMA");
  need(facts.f16c, "F16C");
  if (level == CpuLevel::kAvx2Vnni) need(facts.avx_vnni, "AVX-VNNI");
  if (level == CpuLevel::kAvx512Vnni || level == CpuLevel::kAmx) {
    need(facts.avx512f, "AVX-512 F");
    need(facts.avx512bw, "AVX-512 BW");
    need(facts.avx512dq, "AVX-512 DQ");
    need(facts.avx512vl, "AVX-512 VL");
    need(facts.avx512_vnni, "AVX-512 VNNI");
  }
  if (level == CpuLevel::kAmx) {
    need(facts.avx512_bf16, "AVX-512 BF16");
    need(facts.amx_tile, "AMX-TILE");
    need(facts.amx_int8, "AMX-INT8");
    need(facts.amx_bf16, "AMX-BF16");
  }
  return missing;
}

}  // namespace

const char* CpuLevelName(CpuLevel level) {
  switch (level) {
    case CpuLevel::kBest:
      return "auto";
    case CpuLevel::kPortable:
      return "portable";
    case CpuLevel::kAvx2:
      return "avx2";
    case CpuLevel::kAvx2Vnni:
      return "avx2_vnni";
    case CpuLevel::kAvx512Vnni:
      return "avx512_vnni";
    case CpuLevel::kAmx:
      return "amx";
  }
  return "unknown";
}

absl::StatusOr<CpuLevel> ParseCpuLevel(absl::string_view name) {
  if (name == CpuLevelName(CpuLevel::kBest)) return CpuLevel::kBest;
  for (const CpuLevel level : kAllCpuLevels) {
    if (name == CpuLevelName(level)) return level;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", name, "\" is none of auto, portable, avx2, avx2_vnni, avx512_vnni and amx"));
}

absl::Status CheckCpuLevel(CpuLevel level, const CpuFacts& facts) {
  const std::vector<const char*> missing = Missing(level, facts);
  if (missing.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("this machine lacks ", absl::StrJoin(missing, ", ")));
}

absl::StatusOr<ChosenCpuLevel> ChooseCpuLevel(CpuLevel wanted, const CpuFacts& facts,
                                              absl::FunctionRef<absl::Status()> allow_tiles) {
  if (wanted != CpuLevel::kBest) {
    if (absl::Status status = CheckCpuLevel(wanted, facts); !status.ok()) return status;
    if (wanted == CpuLevel::kAmx) {
      if (absl::Status status = allow_tiles(); !status.ok()) return status;
    }
    return ChosenCpuLevel{wanted, ""};
  }
  ChosenCpuLevel chosen;
  for (auto level = std::rbegin(kAllCpuLevels); level != std::rend(kAllCpuLevels); ++level) {
    if (!CheckCpuLevel(*level, facts).ok()) continue;
    if (*level == CpuLevel::kAmx) {
      if (const absl::Status status = allow_tiles(); !status.ok()) {
        chosen.note = absl::StrCat("not ", CpuLevelName(*level), ": ", status.message());
        continue;
      }
    }
    chosen.level = *level;
    break;
  }
  return chosen;
}

}  // namespace phalanx::kernels
