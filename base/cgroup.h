// What the control groups of this process allow it.
#ifndef PHALANX_BASE_CGROUP_H_
#define PHALANX_BASE_CGROUP_H_

#include <functional>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace phalanx {

// The first line of a file; nothing if there is no such file or it is empty.
std::optional<std::string> ReadFirstLine(const std::string& path);

// Reads the limit that one control group sets from its folder; nothing if it sets none.
using CgroupLimit = std::function<std::optional<double>(const std::string& folder)>;

// The smallest limit that the process's control groups and those above them set; infinity if none
// does. `controller` ("cpu") names the hierarchy of version 1, whose folders `v1` reads. `v2` reads
// those of version 2. Everything is looked up below `sys_root` (a test's folder, or "/").
double TightestCgroupLimit(const std::string& sys_root, absl::string_view controller,
                           const CgroupLimit& v2, const CgroupLimit& v1);

}  // namespace phalanx

#endif  // PHALANX_BASE_CGROUP_H_
