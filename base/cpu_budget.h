// How many CPUs this process may keep busy.
#ifndef PHALANX_BASE_CPU_BUDGET_H_
#define PHALANX_BASE_CPU_BUDGET_H_

#include <string>
#include <vector>

namespace phalanx {

struct CpuBudget {
  // At least 1: the smaller of the affinity mask and the control group's quota, rounded down.
  int cpus = 1;
  // The affinity mask.
  std::vector<int> allowed;
  // Why, for the log: "affinity mask 2, cgroup quota none".
  std::string reason;
};

// Reads sched_getaffinity and cpu.max (cgroup v2) or cpu.cfs_quota_us (v1) along the process's
// cgroup path below `sys_root` (a test's folder, or "/").
CpuBudget GetCpuBudget(const std::string& sys_root = "/");

}  // namespace phalanx

#endif  // PHALANX_BASE_CPU_BUDGET_H_
