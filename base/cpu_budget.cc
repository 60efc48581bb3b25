#include "base/cpu_budget.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace phalanx {
namespace {

std::optional<std::string> ReadFirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

int AffinityCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

// CPUs that one cgroup v2 folder allows, if it sets a quota: "max 100000" or "150000 100000".
std::optional<double> QuotaV2(const std::string& folder) {
  const std::optional<std::string> line = ReadFirstLine(folder + "/cpu.max");
  if (!line) return std::nullopt;
  const std::vector<std::string> words = absl::StrSplit(*line, ' ');
  double quota = 0;
  double period = 0;
  if (words.size() != 2 || !absl::SimpleAtod(words[0], &quota) ||
      !absl::SimpleAtod(words[1], &period) || period <= 0) {
    return std::nullopt;
  }
  return quota / period;
}

std::optional<double> QuotaV1(const std::string& folder) {
  const std::optional<std::string> quota_text = ReadFirstLine(folder + "/cpu.cfs_quota_us");
  const std::optional<std::string> period_text = ReadFirstLine(folder + "/cpu.cfs_period_us");
  double quota = 0;
  double period = 0;
  if (!quota_text || !period_text || !absl::SimpleAtod(*quota_text, &quota) ||
      !absl::SimpleAtod(*period_text, &period) || quota <= 0 || period <= 0) {
    return std::nullopt;
  }
  return quota / period;
}

// The tightest quota of `path` and the folders above it, below `root`.
template <typename QuotaOf>
double TightestQuota(const std::string& root, std::string path, QuotaOf quota_of) {
  double tightest = std::numeric_limits<double>::infinity();
  while (true) {
    if (const std::optional<double> quota = quota_of(root + path)) {
      tightest = std::min(tightest, *quota);
    }
    const size_t slash = path.find_last_of('/');
    if (slash == std::string::npos) return tightest;
    path.resize(slash);
  }
}

double CgroupQuota(const std::string& sys_root) {
  double tightest = std::numeric_limits<double>::infinity();
  std::ifstream cgroups(sys_root + "/proc/self/cgroup");
  for (std::string line; std::getline(cgroups, line);) {
    // hierarchy-id:controllers:path, with no controllers for v2.
    const std::vector<std::string> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    const std::string path = fields[2] == "/" ? "" : fields[2];
    if (fields[1].empty()) {
      tightest = std::min(tightest, TightestQuota(sys_root + "/sys/fs/cgroup", path, QuotaV2));
    }
    for (const absl::string_view controller : absl::StrSplit(fields[1], ',')) {
      if (controller != "cpu") continue;
      tightest = std::min(tightest, TightestQuota(sys_root + "/sys/fs/cgroup/cpu", path, QuotaV1));
    }
  }
  return tightest;
}

}  // namespace

CpuBudget GetCpuBudget(const std::string& sys_root) {
  const int affinity = AffinityCpus();
  const double quota = CgroupQuota(sys_root == "/" ? "" : sys_root);
  CpuBudget budget;
  budget.cpus = affinity;
  std::string quota_text = "none";
  if (quota != std::numeric_limits<double>::infinity()) {
    budget.cpus = std::clamp(static_cast<int>(quota), 1, affinity);
    quota_text = absl::StrCat(quota);
  }
  budget.reason = absl::StrCat("affinity mask ", affinity, ", cgroup quota ", quota_text);
  return budget;
}

}  // namespace phalanx
