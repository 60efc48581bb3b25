// How much memory is left for this process.
#ifndef PHALANX_BASE_FREE_MEMORY_H_
#define PHALANX_BASE_FREE_MEMORY_H_

#include <cstdint>
#include <limits>
#include <string>

namespace phalanx {

// Free memory in bytes. Page cache counts as free, because the kernel gives it up. kUnlimited where
// nothing is known.
struct FreeMemory {
  static constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

  // MemAvailable of /proc/meminfo.
  int64_t machine = kUnlimited;
  // What the control groups of this process, and those above them, still allow: their limit less
  // their usage, plus page cache. May be negative.
  int64_t cgroup = kUnlimited;

  int64_t least() const { return machine < cgroup ? machine : cgroup; }
};

// Reads /proc and the memory controller's files (cgroup v2 or v1) below `sys_root` (a test's
// folder, or "/").
FreeMemory GetFreeMemory(const std::string& sys_root = "/");

}  // namespace phalanx

#endif  // PHALANX_BASE_FREE_MEMORY_H_
