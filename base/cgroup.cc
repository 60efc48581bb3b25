#include "base/cgroup.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace phalanx {
namespace {

constexpr double kNone = std::numeric_limits<double>::infinity();

// The tightest limit of `path` and the folders above it, below `root`.
double Tightest(const std::string& root, std::string path, const CgroupLimit& limit_of) {
  double tightest = kNone;
  while (true) {
    tightest = std::min(tightest, limit_of(root + path).value_or(kNone));
    const size_t slash = path.find_last_of('/');
    if (slash == std::string::npos) return tightest;
    path.resize(slash);
  }
}

}  // namespace

std::optional<std::string> ReadFirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

double TightestCgroupLimit(const std::string& sys_root, absl::string_view controller,
                           const CgroupLimit& v2, const CgroupLimit& v1) {
  const std::string root = sys_root == "/" ? "" : sys_root;
  double tightest = kNone;
  std::ifstream cgroups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(cgroups, line);) {
    // A line is hierarchy-id:controllers:path; the list of controllers is empty for version 2.
    const std::vector<std::string> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    const std::string path = fields[2] == "/" ? "" : fields[2];
    if (fields[1].empty()) {
      tightest = std::min(tightest, Tightest(root + "/sys/fs/cgroup", path, v2));
    }
    for (const absl::string_view name : absl::StrSplit(fields[1], ',')) {
      if (name.empty() || name != controller) continue;
      tightest =
          std::min(tightest, Tightest(absl::StrCat(root, "/sys/fs/cgroup/", name), path, v1));
    }
  }
  return tightest;
}

}  // namespace phalanx
