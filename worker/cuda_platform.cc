#include "worker/cuda_platform.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "base/status.h"
#include "kernels/cuda/cublaslt_api.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/find_cublaslt.h"
#include "kernels/cuda/gpu_list.h"
#include "worker/comm/find_nccl.h"
#include "worker/comm/nccl_api.h"
#include "worker/comm/nccl_communicator_factory.h"
#include "worker/gpu_metrics.h"

namespace phalanx {
namespace {

// What CUDA takes for graphs and what it keeps for itself as it runs, and NCCL for its channels,
// beside what is allocated. Estimates, until they have been measured.
constexpr int64_t kGraphBytes = int64_t{256} << 20;
constexpr int64_t kNcclBytes = int64_t{512} << 20;

absl::StatusOr<std::vector<int>> DevicesOf(const CudaPlatformOptions& options, int num_gpus) {
  std::vector<int> devices = options.devices;
  if (devices.empty()) {
    devices.resize(options.world);
    std::iota(devices.begin(), devices.end(), 0);
    if (options.over_hosts) {
      for (int& device : devices) device %= num_gpus;
    }
  }
  if (devices.size() != static_cast<size_t>(options.world)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--devices names ", devices.size(), " GPUs, but there are ", options.world, " ranks"));
  }
  for (const int device : devices) {
    if (device < 0 || device >= num_gpus) {
      return absl::InvalidArgumentError(
          absl::StrCat("rank ", std::find(devices.begin(), devices.end(), device) - devices.begin(),
                       " would use GPU ", device, ", but this process sees ", num_gpus,
                       " (CUDA_VISIBLE_DEVICES): give --devices or a smaller --tp"));
    }
  }
  return devices;
}

// A line about how data gets from one GPU to another.
absl::Status TellPeers(const std::vector<int>& devices) {
  if (devices.size() < 2) return absl::OkStatus();
  ASSIGN_OR_RETURN(const bool reach, kernels::AllReachEachOther(devices));
  const std::string names = absl::StrJoin(devices, ", ");
  if (reach) {
    LOG(INFO) << "GPUs " << names << " read each other's memory (peer access)";
  } else {
    LOG(WARNING) << "GPUs " << names << " cannot all read each other's memory: what they exchange "
                 << "goes through the memory of the host, which makes each step longer";
  }
  return absl::OkStatus();
}

absl::StatusOr<MemorySource> MemoryOf(int device, int world) {
  ASSIGN_OR_RETURN(const kernels::GpuMemory memory, kernels::GetGpuMemory(device));
  return MemorySource{.free = {.machine = memory.free},
                      .name = absl::StrCat("GPU ", device),
                      .of_each_rank = true,
                      .overhead = kGraphBytes + (world > 1 ? kNcclBytes : 0),
                      .overhead_name = "CUDA",
                      .is_to_be_filled = true};
}

// Where what was measured is kept; empty for nowhere.
std::string CacheFolder(const std::string& chosen) {
  if (chosen == "none") return "";
  if (!chosen.empty()) return chosen;
  for (const auto& [variable, folder] :
       {std::pair("XDG_CACHE_HOME", "/phalanx"), std::pair("HOME", "/.cache/phalanx")}) {
    const char* const value = std::getenv(variable);  // NOLINT(concurrency-mt-unsafe)
    if (value != nullptr && *value != '\0') return absl::StrCat(value, folder);
  }
  return "";
}

// What products of many rows are made by; nothing where our own kernels are to make them all.
std::optional<kernels::CudaBackendOptions::Library> LibraryFor(const CudaPlatformOptions& options) {
  if (options.determinism != kernels::Determinism::kFast) return std::nullopt;
  absl::StatusOr<kernels::cuda::CublasLtApi> api = kernels::cuda::FindCublasLt();
  if (!api.ok()) {
    LOG(WARNING) << "products of many rows are left to our own, slower kernels: "
                 << api.status().message();
    return std::nullopt;
  }
  LOG(INFO) << "cuBLASLt " << kernels::cuda::CublasLtVersionText(api->GetVersion());
  return kernels::CudaBackendOptions::Library{
      .api = *api,
      .cache_folder = CacheFolder(options.cache_dir),
      .log = [](const std::string& line) { LOG(INFO) << line; }};
}

// The factory and the table of functions that it is lent.
class NcclGroups final : public CommunicatorFactory {
 public:
  NcclGroups(const NcclApi& api, const NcclCommunicatorFactory::Options& options)
      : api_(api), factory_(api_, options) {}

  absl::StatusOr<Meeting> Meet(int world, absl::Duration timeout) override {
    return factory_.Meet(world, timeout);
  }
  absl::StatusOr<std::unique_ptr<Communicator>> Join(const Invitation& invitation, int rank,
                                                     int world, absl::Duration timeout) override {
    return factory_.Join(invitation, rank, world, timeout);
  }

 private:
  const NcclApi api_;
  NcclCommunicatorFactory factory_;
};

}  // namespace

absl::StatusOr<Platform> CudaPlatform(const CudaPlatformOptions& options) {
  ASSIGN_OR_RETURN(const int num_gpus, kernels::CountGpus());
  ASSIGN_OR_RETURN(const std::vector<int> devices, DevicesOf(options, num_gpus));
  const int device = devices[options.rank];
  // Which of them are on this host is not known where there are several.
  if (options.rank == 0 && !options.over_hosts) RETURN_IF_ERROR(TellPeers(devices));
  Platform platform;
  // Planning costs time that a GPU would wait; more tokens a step make better use of it.
  platform.defaults = {.max_seqs = 128, .max_step_tokens = 2048, .steps_in_flight = 2};
  platform.make_backend = [device, activations = options.activations,
                           library = LibraryFor(options)](const Platform::BackendOptions& backend) {
    return kernels::MakeCudaBackend({.device = device,
                                     .activations = activations,
                                     .kv_cache = backend.kv_cache,
                                     .determinism = backend.determinism,
                                     .loading_threads = backend.num_threads,
                                     .library = library});
  };
  platform.memory = [device, world = options.world] { return MemoryOf(device, world); };
  platform.add_metrics = [device](MetricsEndpoint& endpoint) -> absl::Status {
    ASSIGN_OR_RETURN(const std::string bus_id, kernels::GpuBusId(device));
    return AddGpuMetrics(bus_id, endpoint);
  };
  NcclApi nccl;  // A rank alone calls nothing of it.
  if (options.world > 1) {
    ASSIGN_OR_RETURN(nccl, FindNccl());
    int version = 0;
    nccl.GetVersion(&version);
    LOG(INFO) << "NCCL " << version / 10000 << "." << version / 100 % 100 << "." << version % 100;
  }
  platform.communicators = std::make_unique<NcclGroups>(
      nccl, NcclCommunicatorFactory::Options{.device = device, .determinism = options.determinism});
  return platform;
}

}  // namespace phalanx
