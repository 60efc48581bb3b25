// Which CPU each thread of each rank runs on.
#ifndef PHALANX_WORKER_THREAD_PLACEMENT_H_
#define PHALANX_WORKER_THREAD_PLACEMENT_H_

#include <string>
#include <vector>

#include "absl/types/span.h"
#include "worker/host_cpus.h"

namespace phalanx {

// The threads of one group's ranks on one host: `ranks` times `threads_per_rank`.
struct ThreadCounts {
  int ranks = 1;
  int threads_per_rank = 1;
};

// Where threads are kept.
enum class PinMode {
  kAuto,   // Those of a rank on its part of the NUMA nodes, where that may gain something.
  kCores,  // Each on a CPU of its own, if there are enough.
  kNone,   // Nowhere.
};

// The CPUs that a thread may run on.
using CpuSet = std::vector<int>;

struct ThreadPlacement {
  // By rank and thread. No core is in two ranks. Empty if threads are to run wherever the system
  // puts them.
  std::vector<std::vector<CpuSet>> cpus;
  // Why, for the log: "2 ranks of 8 threads on 16 cores, 2 NUMA nodes".
  std::string reason;
};

// A pure function: ranks that see the same CPUs and counts come to the same placement, and need not
// talk about it.
//
// Cores are dealt out to the ranks, as evenly as they go. A rank lies on one NUMA node if its
// threads fit on its part of one, and ranks are spread over the nodes; if not, ranks take the cores
// in the order of the nodes. kCores gives the threads of a rank different cores as long as it has
// some, then the second CPUs of these.
//
// `cpus` are those that the process may use; `budget_cpus` is how many of them it may keep busy
// (base/cpu_budget.h). kAuto leaves threads free on a single node, where pinning was measured to
// gain nothing and to lose as soon as another program runs (docs/benchmarks.md). It does so too if
// the budget is less than all CPUs, or each rank could have another core: others are then meant to
// run here as well, and a worker that takes the first node would meet the next one that does.
ThreadPlacement PlaceThreads(PinMode mode, absl::Span<const HostCpu> cpus, int budget_cpus,
                             const ThreadCounts& counts);

}  // namespace phalanx

#endif  // PHALANX_WORKER_THREAD_PLACEMENT_H_
