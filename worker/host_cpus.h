// The processors of this host.
#ifndef PHALANX_WORKER_HOST_CPUS_H_
#define PHALANX_WORKER_HOST_CPUS_H_

#include <string>
#include <vector>

#include "absl/types/span.h"

namespace phalanx {

// A logical CPU: what one thread at a time runs on.
struct HostCpu {
  int cpu = 0;
  // The physical core, named by the lowest CPU on it. Cores with SMT have several CPUs.
  int core = 0;
  // The NUMA node, whose memory the core reaches first.
  int node = 0;

  friend bool operator==(const HostCpu&, const HostCpu&) = default;
};

// Reads from <sys_root>/sys (a test's folder, or "/") what the system tells of `cpus`. A CPU that
// it tells nothing of, as in some containers, is a core of its own on node 0. CPUs that are offline
// are left out. Blocks on small files.
std::vector<HostCpu> ReadHostCpus(absl::Span<const int> cpus, const std::string& sys_root = "/");

}  // namespace phalanx

#endif  // PHALANX_WORKER_HOST_CPUS_H_
