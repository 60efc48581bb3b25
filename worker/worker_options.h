// The worker's command line.
#ifndef PHALANX_WORKER_WORKER_OPTIONS_H_
#define PHALANX_WORKER_WORKER_OPTIONS_H_

#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/host_port.h"
#include "base/log_format.h"
#include "kernels/ops.h"
#include "model/sharding/weight_plan.h"
#include "model/spec/spec.h"
#include "worker/rank_link_options.h"
#include "worker/step/step.h"
#include "worker/thread_placement.h"

namespace phalanx {

// What the KV cache holds without --kv_cache_tokens, if there is room.
inline constexpr int kDefaultKvCacheTokens = 16384;

// What computes. kAuto: GPUs if there are any.
enum class DeviceKind { kAuto, kCuda, kCpu };

// What products are computed with. kAuto: bfloat16 on GPUs; on CPUs kInt8.
enum class ActivationType {
  kAuto,
  kF32,
  kBF16,
  kInt8,  // CPUs only: integers where weights are quantized, and float32 where they are floats.
};

// Defaults of flags that depend on the device; these are those of CPUs.
struct StepDefaults {
  int max_seqs = 32;
  int max_step_tokens = 256;
  int steps_in_flight = 1;
};

struct WorkerOptions {
  std::string model_path;
  std::string model_name;  // Empty: the model's own.
  HostPort listen{"127.0.0.1", 50061};
  HostPort metrics_listen{"127.0.0.1", 9410};
  int tp = 1;
  int rank = 0;
  int world = 0;             // 0: as tp, and the leader starts the other ranks.
  std::string group_socket;  // See worker/group/unix_socket.h. Empty: the leader makes one up.
  RankLinkOptions rank_links;
  bool supervised = false;  // The leader started this rank and says when it is to stop.
  kernels::Determinism determinism = kernels::Determinism::kStrict;
  DeviceKind device = DeviceKind::kAuto;
  std::vector<int> devices;  // The GPU of each rank; empty: that of its number.
  ActivationType activations = ActivationType::kAuto;
  std::string cpu_level = "auto";  // kernels/cpu/cpu_level.h.
  std::string cuda_cache_dir;      // Empty: in the user's cache folder; "none": nothing is kept.
  WeightForm weights = WeightForm::kFile;
  std::optional<kernels::KvDType> kv_cache_dtype = std::nullopt;  // None: what suits the device.
  PinMode pin = PinMode::kAuto;
  int threads = 0;          // 0: the CPU budget divided by the ranks.
  int context_tokens = 0;   // 0: as much as the model has and fits.
  int kv_cache_tokens = 0;  // 0: see worker/memory_plan.h.
  int max_seqs = StepDefaults().max_seqs;
  int max_step_tokens = StepDefaults().max_step_tokens;
  int max_waiting = 256;
  int64_t max_waiting_tokens = int64_t{1} << 18;
  int steps_in_flight = StepDefaults().steps_in_flight;
  bool prefix_cache = true;
  absl::Duration stall_timeout = absl::Milliseconds(2500);
  absl::Duration step_timeout = absl::Minutes(1);
  absl::Duration startup_timeout = absl::Minutes(2);
  absl::Duration lame_duck = absl::Seconds(5);
  absl::Duration drain_timeout = absl::Seconds(30);
  absl::Duration self_probe_interval = absl::Seconds(10);
  LogFormat log_format = LogFormat::kText;

  bool starts_ranks() const { return world == 0; }
  // Whether ranks may be on hosts of their own: then this process has its host's CPUs and memory
  // for itself, as far as it knows.
  bool over_hosts() const { return rank_links.over_tcp(); }
  int group_size() const { return world == 0 ? tp : world; }
};

// Adds the options to `app`; `options` holds the defaults and must outlive the parsing.
void AddWorkerOptions(CLI::App& app, WorkerOptions& options);

// Sets the options of `defaults` that the command line, parsed by `app`, did not give.
void ApplyDefaults(const StepDefaults& defaults, const CLI::App& app, WorkerOptions& options);

// INVALID_ARGUMENT if the options contradict each other, which the check of a single option cannot
// see.
absl::Status CheckWorkerOptions(const WorkerOptions& options);

// The command line of local rank `rank` of the group that `options` describe.
std::vector<std::string> RankCommand(const WorkerOptions& options, int rank);

// Where the metrics page of rank `rank` is: at the leader's port plus `rank`, and on a host of its
// own at that port itself; port 0 stays 0. `options` must have passed CheckWorkerOptions.
HostPort RankMetricsAddress(const WorkerOptions& options, int rank);

// How many ranks of the group this host has, and which of them this process is.
struct HostPlace {
  int rank = 0;
  int ranks = 1;
};
// Of ranks that may be on several hosts, each is taken to have its host for itself.
HostPlace PlaceOnHost(const WorkerOptions& options);

// The number of threads that each rank computes with.
int ThreadsPerRank(const WorkerOptions& options);

// Reduces spec.context_tokens to --context_tokens or, without that, to --kv_cache_tokens if that is
// set. INVALID_ARGUMENT if --context_tokens is more than the model has.
absl::Status LimitContext(const WorkerOptions& options, ModelSpec& spec);

// The limits of a step. INVALID_ARGUMENT if the KV cache cannot hold one whole context.
absl::StatusOr<StepLimits> MakeStepLimits(const WorkerOptions& options, const ModelSpec& spec);

}  // namespace phalanx

#endif  // PHALANX_WORKER_WORKER_OPTIONS_H_
