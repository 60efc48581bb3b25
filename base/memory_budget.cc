#include "base/memory_budget.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/cgroup.h"

namespace phalanx {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::infinity();

// The number of bytes in a file; nothing if there is a word in it, such as "max".
std::optional<double> BytesIn(const std::string& path) {
  const std::optional<std::string> line = ReadFirstLine(path);
  int64_t bytes = 0;
  if (!line || !absl::SimpleAtoi(*line, &bytes) || bytes <= 0) return std::nullopt;
  return static_cast<double>(bytes);
}

// "MemTotal:       16314480 kB"
double MachineBytes(const std::string& root) {
  std::ifstream file(root + "/proc/meminfo");
  std::string key;
  int64_t kilobytes = 0;
  return file >> key >> kilobytes && key == "MemTotal:" ? static_cast<double>(kilobytes) * 1024
                                                        : kUnknown;
}

}  // namespace

int64_t GetMemoryBudget(const std::string& sys_root) {
  const double limit = TightestCgroupLimit(
      sys_root, "memory",
      [](const std::string& folder) { return BytesIn(absl::StrCat(folder, "/memory.max")); },
      [](const std::string& folder) {
        return BytesIn(absl::StrCat(folder, "/memory.limit_in_bytes"));
      });
  const double bytes = std::min(limit, MachineBytes(sys_root == "/" ? "" : sys_root));
  return bytes == kUnknown ? 0 : static_cast<int64_t>(bytes);
}

}  // namespace phalanx
