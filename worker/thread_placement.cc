#include "worker/thread_placement.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

namespace phalanx {
namespace {

// The CPUs of one core, in ascending order.
using Core = std::vector<int>;
using Cores = std::vector<Core>;

// The cores of each node, both in ascending order.
std::vector<Cores> CoresOfNodes(absl::Span<const HostCpu> cpus) {
  std::map<int, std::map<int, Core>> nodes;
  for (const HostCpu& cpu : cpus) nodes[cpu.node][cpu.core].push_back(cpu.cpu);
  std::vector<Cores> result;
  for (auto& [node, cores] : nodes) {
    Cores& list = result.emplace_back();
    for (auto& [core, on_core] : cores) {
      std::sort(on_core.begin(), on_core.end());
      list.push_back(std::move(on_core));
    }
  }
  return result;
}

// Part `part` of `parts` that are equally large, or differ by one.
absl::Span<const Core> PartOf(const Cores& cores, int part, int parts) {
  const size_t begin = cores.size() * part / parts;
  const size_t end = cores.size() * (part + 1) / parts;
  return absl::MakeConstSpan(cores).subspan(begin, end - begin);
}

// What each of a rank's threads may run on: a CPU of its own, of each core the first one, then of
// each core the second; or, with `shared`, all of these. nullopt if there are not so many.
std::optional<std::vector<CpuSet>> PlaceOnCores(absl::Span<const Core> cores, int threads,
                                                bool shared) {
  CpuSet all;
  size_t most = 0;
  for (const Core& core : cores) most = std::max(most, core.size());
  for (size_t turn = 0; turn < most; ++turn) {
    for (const Core& core : cores) {
      if (turn < core.size()) all.push_back(core[turn]);
    }
  }
  if (static_cast<int>(all.size()) < threads) return std::nullopt;
  if (shared) return std::vector<CpuSet>(threads, all);
  std::vector<CpuSet> own;
  own.reserve(threads);
  for (int thread = 0; thread < threads; ++thread) own.push_back({all[thread]});
  return own;
}

// How many ranks lie on each node: one after the other goes where it has most cores to itself.
std::vector<int> DealRanks(const std::vector<Cores>& nodes, int ranks) {
  std::vector<int> dealt(nodes.size(), 0);
  for (int rank = 0; rank < ranks; ++rank) {
    const auto share = [&](size_t node) {
      return static_cast<double>(nodes[node].size()) / (dealt[node] + 1);
    };
    size_t best = 0;
    for (size_t node = 1; node < nodes.size(); ++node) {
      if (share(node) > share(best)) best = node;
    }
    ++dealt[best];
  }
  return dealt;
}

// Empty if a rank's threads do not fit on its part of a node.
std::vector<std::vector<CpuSet>> PlaceOnNodes(const std::vector<Cores>& nodes,
                                              const ThreadCounts& counts, bool shared) {
  if (nodes.empty()) return {};
  const std::vector<int> dealt = DealRanks(nodes, counts.ranks);
  std::vector<std::vector<CpuSet>> placed;
  for (size_t node = 0; node < nodes.size(); ++node) {
    for (int i = 0; i < dealt[node]; ++i) {
      auto cpus =
          PlaceOnCores(PartOf(nodes[node], i, dealt[node]), counts.threads_per_rank, shared);
      if (!cpus.has_value()) return {};
      placed.push_back(*std::move(cpus));
    }
  }
  return placed;
}

std::vector<std::vector<CpuSet>> Place(const std::vector<Cores>& nodes, const ThreadCounts& counts,
                                       bool shared) {
  std::vector<std::vector<CpuSet>> placed = PlaceOnNodes(nodes, counts, shared);
  if (!placed.empty() || nodes.size() < 2) return placed;
  Cores all;
  for (const Cores& cores : nodes) all.insert(all.end(), cores.begin(), cores.end());
  return PlaceOnNodes({all}, counts, shared);
}

std::string Count(size_t count, const char* noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

}  // namespace

ThreadPlacement PlaceThreads(PinMode mode, absl::Span<const HostCpu> cpus, int budget_cpus,
                             const ThreadCounts& counts) {
  if (mode == PinMode::kNone) return {.cpus = {}, .reason = "as --pin says"};
  const std::vector<Cores> nodes = CoresOfNodes(cpus);
  size_t cores = 0;
  for (const Cores& of_node : nodes) cores += of_node.size();
  std::string what =
      absl::StrCat(Count(counts.ranks, "rank"), " of ", Count(counts.threads_per_rank, "thread"),
                   " on ", Count(cores, "core"), ", ", Count(nodes.size(), "NUMA node"));
  if (mode == PinMode::kAuto && nodes.size() < 2) {
    return {.cpus = {}, .reason = std::move(what)};
  }
  if (mode == PinMode::kAuto && budget_cpus < static_cast<int>(cpus.size())) {
    return {.cpus = {},
            .reason = absl::StrCat("a quota of ", Count(budget_cpus, "CPU"), " is below the ",
                                   cpus.size(), " that may be used, which others share")};
  }
  if (mode == PinMode::kAuto &&
      counts.ranks * (counts.threads_per_rank + 1) <= static_cast<int>(cores)) {
    return {.cpus = {}, .reason = absl::StrCat(what, " leave room for others")};
  }
  std::vector<std::vector<CpuSet>> placed = Place(nodes, counts, mode == PinMode::kAuto);
  if (placed.empty()) {
    return {.cpus = {}, .reason = absl::StrCat(what, ": ranks would meet on a core")};
  }
  return {.cpus = std::move(placed), .reason = std::move(what)};
}

}  // namespace phalanx
