#include "base/free_memory.h"

#include <fstream>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/cgroup.h"

namespace phalanx {
namespace {

// The number in a file; nothing if there is a word in it, such as "max".
std::optional<double> NumberIn(const std::string& path) {
  const std::optional<std::string> line = ReadFirstLine(path);
  int64_t number = 0;
  if (!line || !absl::SimpleAtoi(*line, &number)) return std::nullopt;
  return static_cast<double>(number);
}

// The number behind `key` in lines of "key number ...".
std::optional<double> NumberOf(absl::string_view key, const std::string& path) {
  std::ifstream file(path);
  std::string word;
  for (std::string rest; file >> word; std::getline(file, rest)) {
    double number = 0;
    if (word == key && file >> number) return number;
  }
  return std::nullopt;
}

// Names of one version's files, and of its counters of page cache. Pages of tmpfs are not in these
// counters, and rightly: the kernel cannot give them up.
struct MemoryFiles {
  absl::string_view limit;
  absl::string_view usage;
  absl::string_view caches[2];
};
constexpr MemoryFiles kV2 = {"/memory.max", "/memory.current", {"inactive_file", "active_file"}};
constexpr MemoryFiles kV1 = {"/memory.limit_in_bytes",
                             "/memory.usage_in_bytes",
                             {"total_inactive_file", "total_active_file"}};

std::optional<double> FreeIn(const std::string& folder, const MemoryFiles& files) {
  const std::optional<double> limit = NumberIn(absl::StrCat(folder, files.limit));
  if (!limit) return std::nullopt;
  double free = *limit - NumberIn(absl::StrCat(folder, files.usage)).value_or(0);
  for (const absl::string_view cache : files.caches) {
    free += NumberOf(cache, folder + "/memory.stat").value_or(0);
  }
  return free;
}

int64_t ToBytes(double bytes) {
  // Version 1 says 2^63 - 4096 where there is no limit. Less what is used, that is still above
  // 2^62.
  return bytes < 0x1p62 ? static_cast<int64_t>(bytes) : FreeMemory::kUnlimited;
}

}  // namespace

FreeMemory GetFreeMemory(const std::string& sys_root) {
  const std::string meminfo = sys_root == "/" ? "/proc/meminfo" : sys_root + "/proc/meminfo";
  const std::optional<double> available_kb = NumberOf("MemAvailable:", meminfo);
  const double cgroup = TightestCgroupLimit(
      sys_root, "memory", [](const std::string& folder) { return FreeIn(folder, kV2); },
      [](const std::string& folder) { return FreeIn(folder, kV1); });
  return {.machine = available_kb ? ToBytes(*available_kb * 1024) : FreeMemory::kUnlimited,
          .cgroup = ToBytes(cgroup)};
}

}  // namespace phalanx
