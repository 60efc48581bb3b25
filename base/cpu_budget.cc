#include "base/cpu_budget.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/cgroup.h"
#include "base/cpu_set.h"

namespace phalanx {
namespace {

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

}  // namespace

CpuBudget GetCpuBudget(const std::string& sys_root) {
  const double quota = TightestCgroupLimit(sys_root, "cpu", QuotaV2, QuotaV1);
  CpuBudget budget;
  budget.allowed = AllowedCpus();
  const int affinity = static_cast<int>(budget.allowed.size());
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
