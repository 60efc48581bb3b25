#include "client/inspect_command.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/memory_budget.h"
#include "base/options.h"
#include "client/exit_code.h"
#include "client/inspection.h"
#include "client/inspection_format.h"
#include "model/sharding/kv_type.h"

namespace phalanx {
namespace {

constexpr uint64_t kDefaultGpuBytes = uint64_t{80} << 30;

int64_t AsSigned(uint64_t bytes) {
  return static_cast<int64_t>(std::min<uint64_t>(bytes, std::numeric_limits<int64_t>::max()));
}

KvType KvTypeOf(const CommandLine& line, InspectedDevice device) {
  for (const KvType type : kAllKvTypes) {
    if (line.kv_cache_dtype == KvTypeName(type)) return type;
  }
  return DefaultKvType(device);
}

// On CPUs; 0 if it cannot be told.
int64_t MemoryOfARank(const CommandLine& line) {
  if (line.memory_bytes.has_value()) return AsSigned(*line.memory_bytes);
  return GetMemoryBudget() / line.tp;
}

}  // namespace

int Inspect(const CommandLine& line, Terminal* terminal) {
  const InspectedDevice device =
      line.device == "cuda" ? InspectedDevice::kCuda : InspectedDevice::kCpu;
  const bool is_on_gpus = device == InspectedDevice::kCuda;
  if (is_on_gpus ? line.memory_bytes.has_value() : line.gpu_bytes.has_value()) {
    terminal->WriteError(
        "phalanx: --memory is for --device cpu and --gpu_memory for --device cuda\n");
    return kExitUsage;
  }
  const KvType kv_type = KvTypeOf(line, device);
  if (!is_on_gpus && kv_type == KvType::kFp8) {
    terminal->WriteError(
        "phalanx: a CPU keeps keys and values in f32, bf16 or int8; --kv_cache_dtype fp8 is for "
        "--device cuda\n");
    return kExitUsage;
  }
  const int64_t memory =
      is_on_gpus ? AsSigned(line.gpu_bytes.value_or(kDefaultGpuBytes)) : MemoryOfARank(line);
  if (memory == 0) {
    terminal->WriteError("phalanx: how much memory there is cannot be told; use --memory\n");
    return kExitUsage;
  }
  const absl::StatusOr<Inspection> found =
      InspectModel(*line.path, device, kv_type, line.tp, memory);
  if (!found.ok()) {
    terminal->WriteError(absl::StrCat("phalanx: ", absl::StatusCodeToString(found.status().code()),
                                      ": ", found.status().message(), "\n"));
    return kExitInvalidRequest;
  }
  const absl::Status written = terminal->Write(
      line.json ? absl::StrCat(InspectionJson(*found), "\n") : InspectionText(*found));
  if (terminal->output_closed()) return kExitBrokenPipe;
  if (absl::IsCancelled(written)) return kExitInterrupted;
  if (!written.ok()) return kExitFailure;
  return found->refused.empty() ? kExitOk : kExitInvalidRequest;
}

}  // namespace phalanx
