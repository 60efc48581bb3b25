// How much memory this process may take.
#ifndef PHALANX_BASE_MEMORY_BUDGET_H_
#define PHALANX_BASE_MEMORY_BUDGET_H_

#include <cstdint>
#include <string>

namespace phalanx {

// The smaller of the machine's memory and the limit of the control group, in bytes, no matter how
// much of it is in use; 0 if neither is known. Reads /proc/meminfo and memory.max (cgroup v2) or
// memory.limit_in_bytes (v1) below `sys_root` (a test's folder, or "/").
int64_t GetMemoryBudget(const std::string& sys_root = "/");

}  // namespace phalanx

#endif  // PHALANX_BASE_MEMORY_BUDGET_H_
