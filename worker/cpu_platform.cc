#include "worker/cpu_platform.h"

#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/cpu_budget.h"
#include "base/cpu_set.h"
#include "base/free_memory.h"
#include "base/log.h"
#include "base/status.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/cpu_level.h"
#include "worker/comm/net_communicator_factory.h"
#include "worker/comm/shm_communicator_factory.h"
#include "worker/host_cpus.h"
#include "worker/rank_credentials.h"
#include "worker/thread_placement.h"

namespace phalanx {
namespace {

// What each of this rank's threads may run on; none if they are left free. Tells it in the log.
std::vector<CpuSet> ChooseCpus(const HostPlace& place, int threads, PinMode mode) {
  const CpuBudget budget = GetCpuBudget();
  ThreadPlacement placement = PlaceThreads(mode, ReadHostCpus(budget.allowed), budget.cpus,
                                           {.ranks = place.ranks, .threads_per_rank = threads});
  if (placement.cpus.empty()) {
    LOG(INFO) << "threads run on any of the CPUs " << CpuListText(budget.allowed) << ": "
              << placement.reason;
    return {};
  }
  std::vector<CpuSet>& sets = placement.cpus[place.rank];
  std::set<int> all;
  for (const CpuSet& set : sets) all.insert(set.begin(), set.end());
  LOG(INFO) << "threads keep to " << (sets.front().size() == 1 ? "a CPU each, of " : "the CPUs ")
            << CpuListText(std::vector<int>(all.begin(), all.end())) << ": " << placement.reason
            << " (--pin)";
  return std::move(sets);
}

absl::StatusOr<std::unique_ptr<CommunicatorFactory>> MakeCommunicators(
    const WorkerOptions& options) {
  if (!options.over_hosts()) return std::make_unique<ShmCommunicatorFactory>();
  ASSIGN_OR_RETURN(std::shared_ptr<TlsCredentials> credentials,
                   LoadRankCredentials(options.rank_links));
  return std::make_unique<NetCommunicatorFactory>(NetCommunicatorFactory::Options{
      .leader_host = options.rank_links.leader.host, .credentials = std::move(credentials)});
}

kernels::CpuProducts ProductsOf(ActivationType activations) {
  switch (activations) {
    case ActivationType::kF32:
      return kernels::CpuProducts::kFloat32;
    case ActivationType::kBF16:
      return kernels::CpuProducts::kBFloat16;
    case ActivationType::kInt8:
    case ActivationType::kAuto:
      break;
  }
  return kernels::CpuProducts::kInt8;
}

}  // namespace

absl::StatusOr<Platform> CpuPlatform(const WorkerOptions& options) {
  ASSIGN_OR_RETURN(const kernels::CpuLevel level, kernels::ParseCpuLevel(options.cpu_level));
  Platform platform;
  const kernels::CpuProducts products = ProductsOf(options.activations);
  // Always strict: on a CPU that costs next to nothing.
  platform.make_backend = [products, level, place = PlaceOnHost(options),
                           pin = options.pin](const Platform::BackendOptions& backend) {
    return kernels::MakeCpuBackend({.num_threads = backend.num_threads,
                                    .level = level,
                                    .products = products,
                                    .kv_cache = backend.kv_cache,
                                    .cpus = ChooseCpus(place, backend.num_threads, pin)});
  };
  platform.memory = [of_each_rank = options.over_hosts()]() -> absl::StatusOr<MemorySource> {
    return MemorySource{.free = GetFreeMemory(), .of_each_rank = of_each_rank};
  };
  ASSIGN_OR_RETURN(platform.communicators, MakeCommunicators(options));
  return platform;
}

}  // namespace phalanx
