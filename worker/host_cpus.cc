#include "worker/host_cpus.h"

#include <algorithm>
#include <map>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/cgroup.h"
#include "base/cpu_set.h"

namespace phalanx {
namespace {

// The list in a file; nullopt if there is no such file.
std::optional<std::vector<int>> ReadCpuList(const std::string& path) {
  const std::optional<std::string> line = ReadFirstLine(path);
  return line.has_value() ? ParseCpuList(*line) : std::nullopt;
}

// The node of each CPU.
std::map<int, int> ReadNodes(const std::string& folder) {
  std::map<int, int> nodes;
  // Numbers of nodes may have gaps.
  for (const int node : ReadCpuList(folder + "/online").value_or(std::vector<int>())) {
    const auto cpus = ReadCpuList(absl::StrCat(folder, "/node", node, "/cpulist"));
    if (!cpus.has_value()) continue;
    for (const int cpu : *cpus) nodes[cpu] = node;
  }
  return nodes;
}

int ReadCore(const std::string& folder, int cpu) {
  const std::string topology = absl::StrCat(folder, "/cpu", cpu, "/topology/");
  auto on_core = ReadCpuList(topology + "core_cpus_list");
  // Its name before Linux 5.3.
  if (!on_core.has_value()) on_core = ReadCpuList(topology + "thread_siblings_list");
  const bool is_sound =
      on_core.has_value() && std::find(on_core->begin(), on_core->end(), cpu) != on_core->end();
  return is_sound ? on_core->front() : cpu;
}

}  // namespace

std::vector<HostCpu> ReadHostCpus(absl::Span<const int> cpus, const std::string& sys_root) {
  const std::string folder = sys_root + "/sys/devices/system";
  const std::optional<std::vector<int>> online = ReadCpuList(folder + "/cpu/online");
  const std::map<int, int> nodes = ReadNodes(folder + "/node");
  std::vector<HostCpu> host;
  for (const int cpu : cpus) {
    if (online.has_value() && !std::binary_search(online->begin(), online->end(), cpu)) continue;
    const auto node = nodes.find(cpu);
    host.push_back({.cpu = cpu,
                    .core = ReadCore(folder + "/cpu", cpu),
                    .node = node == nodes.end() ? 0 : node->second});
  }
  return host;
}

}  // namespace phalanx
