#include "worker/worker_options.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/cpu_budget.h"
#include "base/log.h"
#include "base/options.h"
#include "kernels/ops.h"

namespace phalanx {
namespace {

constexpr absl::Duration kMinStallTimeout = absl::Milliseconds(100);

int BlocksFor(int tokens) {
  return (tokens + kernels::kKvBlockTokens - 1) / kernels::kKvBlockTokens;
}

constexpr std::pair<DeviceKind, const char*> kDeviceNames[] = {
    {DeviceKind::kAuto, "auto"}, {DeviceKind::kCuda, "cuda"}, {DeviceKind::kCpu, "cpu"}};

const char* DeviceName(DeviceKind device) {
  for (const auto& [kind, text] : kDeviceNames) {
    if (kind == device) return text;
  }
  return "";
}

constexpr std::pair<ActivationType, const char*> kActivationNames[] = {
    {ActivationType::kAuto, "auto"},
    {ActivationType::kF32, "f32"},
    {ActivationType::kBF16, "bf16"},
    {ActivationType::kInt8, "int8"}};

const char* ActivationName(ActivationType activations) {
  for (const auto& [type, text] : kActivationNames) {
    if (type == activations) return text;
  }
  return "";
}

constexpr std::pair<PinMode, const char*> kPinNames[] = {
    {PinMode::kAuto, "auto"}, {PinMode::kCores, "cores"}, {PinMode::kNone, "none"}};

const char* PinName(PinMode mode) {
  for (const auto& [each, text] : kPinNames) {
    if (each == mode) return text;
  }
  return "";
}

void AddPinOption(CLI::App& app, PinMode* mode, const std::string& group) {
  app.add_option_function<std::string>(
         "--pin",
         [mode](const std::string& name) {
           for (const auto& [each, text] : kPinNames) {
             if (name == text) *mode = each;
           }
         },
         "Where threads that compute on CPUs run. cores: each keeps to a CPU of its own, if there "
         "are "
         "enough, on different cores first. none: anywhere. auto: those of a rank keep to its part "
         "of the NUMA nodes, where there are several, if the ranks use all CPUs that this process "
         "may use and no quota is below these")
      ->check(CLI::IsMember({"auto", "cores", "none"}))
      ->default_str(PinName(*mode))
      ->group(group);
}

// "auto" for none.
const char* KvCacheDTypeName(std::optional<kernels::KvDType> dtype) {
  return dtype.has_value() ? kernels::KvDTypeName(*dtype) : "auto";
}

void AddKvCacheDTypeOption(CLI::App& app, std::optional<kernels::KvDType>* dtype) {
  std::vector<std::string> names = {KvCacheDTypeName(std::nullopt)};
  for (const kernels::KvDType each : kernels::kAllKvDTypes) names.emplace_back(KvDTypeName(each));
  app.add_option_function<std::string>(
         "--kv_cache_dtype",
         [dtype](const std::string& name) {
           dtype->reset();
           for (const kernels::KvDType each : kernels::kAllKvDTypes) {
             if (name == KvDTypeName(each)) *dtype = each;
           }
         },
         "What keys and values are kept in: f32; bf16; int8 or fp8 (e4m3; GPUs only), with a scale "
         "for each key and value of a head; auto, f32 beside --activations=f32 and else bf16")
      ->check(CLI::IsMember(names))
      ->default_str(KvCacheDTypeName(*dtype));
}

CLI::Option* AddDeterminismOption(CLI::App& app, kernels::Determinism* determinism) {
  constexpr auto kStrict = kernels::Determinism::kStrict;
  constexpr auto kFast = kernels::Determinism::kFast;
  CLI::Option* option = app.add_option_function<std::string>(
      "--determinism",
      [determinism](const std::string& name) {
        *determinism = name == kernels::DeterminismName(kFast) ? kFast : kStrict;
      },
      "What an answer may depend on: strict, on the request alone; fast, on the load too, where "
      "that lets a backend choose faster algorithms. CPUs always keep strict");
  option->check(
      CLI::IsMember({kernels::DeterminismName(kStrict), kernels::DeterminismName(kFast)}));
  option->default_str(kernels::DeterminismName(*determinism));
  return option;
}

void AddDeviceOptions(CLI::App& app, WorkerOptions& options) {
  const std::string group = "Device";
  // Names are as kDeviceNames has them.
  app.add_option_function<std::string>(
         "--device",
         [&options](const std::string& name) {
           for (const auto& [kind, text] : kDeviceNames) {
             if (name == text) options.device = kind;
           }
         },
         "What computes: cpu; cuda, NVIDIA GPUs, one for each rank; auto, GPUs if there are any")
      ->check(CLI::IsMember({"auto", "cuda", "cpu"}))
      ->default_str(DeviceName(options.device))
      ->group(group);
  app.add_option("--devices", options.devices,
                 "The GPU of each rank among those that CUDA_VISIBLE_DEVICES leaves, from 0, with "
                 "commas between; default: rank r has GPU r")
      ->delimiter(',')
      ->check(CLI::Range(0, 63))
      ->group(group);
  app.add_option_function<std::string>(
         "--activations",
         [&options](const std::string& name) {
           for (const auto& [type, text] : kActivationNames) {
             if (name == text) options.activations = type;
           }
         },
         "What products are computed with. f32: the most exact, and the slowest; on GPUs by far. "
         "bf16: inputs and weights are rounded to bfloat16; on CPUs for files of floats, where "
         "it is 1.4 to 1.9 times as fast as f32 with AVX-512 BF16. int8: for CPUs, where "
         "weights are quantized; inputs are then rounded to 8 bits, with a scale for each 32 of "
         "them, and products with float weights are in f32. auto: bf16 on GPUs, int8 on CPUs")
      ->check(CLI::IsMember({"auto", "f32", "bf16", "int8"}))
      ->default_str(ActivationName(options.activations))
      ->group(group);
  app.add_option("--cpu_level", options.cpu_level,
                 "The processor's instructions that CPUs compute with; auto: the best that it has. "
                 "All ranks of a group must have the same")
      ->check(CLI::IsMember({"auto", "portable", "avx2", "avx2_vnni", "avx512_vnni", "amx"}))
      ->group(group);
  app.add_option("--cuda_cache_dir", options.cuda_cache_dir,
                 "Where GPUs keep from one start to the next which algorithms of cuBLASLt were "
                 "fastest (--determinism=fast): a folder, or none")
      ->default_str("$XDG_CACHE_HOME/phalanx or ~/.cache/phalanx")
      ->type_name("PATH")
      ->group(group);
}

void AddGroupOptions(CLI::App& app, WorkerOptions& options) {
  const std::string group = "Ranks";
  CLI::Option* const tp =
      app.add_option("--tp", options.tp,
                     "Ranks that share every layer (tensor parallelism); this process starts the "
                     "others. At most the model's KV heads")
          ->check(CLI::Range(1, 64))
          ->group(group);
  CLI::Option* const world =
      app.add_option(
             "--world", options.world,
             "Ranks of a group whose ranks are started by hand or by a cluster, one process "
             "each: on one host with --group_socket, on several with --leader")
          ->check(CLI::Range(1, 64))
          ->excludes(tp)
          ->group(group);
  app.add_option("--rank", options.rank,
                 "This process's number in a group that is started so (--world); 0 is the leader")
      ->check(CLI::Range(0, 63))
      ->needs(world)
      ->group(group);
  app.add_option(
         "--group_socket", options.group_socket,
         "Unix socket where the ranks of a group that is started by hand (--world) meet the "
         "leader: a path, or @NAME for one that leaves no file. All must run as one user")
      ->needs(world)
      ->group(group);
  AddRankLinkOptions(app, group, world, options.rank_links);
  // Set by RankCommand; hidden from the help.
  app.add_flag("--supervised", options.supervised)->needs(world)->group("");
  app.add_option("--threads", options.threads,
                 "Threads of each rank; 0 divides the CPUs that this process may use")
      ->check(CLI::Range(0, 1024))
      ->group(group);
  AddPinOption(app, &options.pin, group);
  AddDeterminismOption(app, &options.determinism)->group(group);
  AddDurationOption(app, "--startup_timeout", &options.startup_timeout,
                    "How long ranks may take to join, and again to load; also when one was lost")
      ->group(group);
  AddDurationOption(
      app, "--stall_timeout", &options.stall_timeout,
      "How long a rank may say nothing, as one that was stopped, or the group come no "
      "further within a step, before it counts as lost. A step of more than 64 "
      "tokens has more time, in proportion, and one may stand still for four times as "
      "long as earlier ones that went on. At least 100ms")
      ->group(group);
  AddDurationOption(app, "--step_timeout", &options.step_timeout,
                    "How long a rank waits for another within a step before it gives the step up, "
                    "should the leader not have ended it by then")
      ->group(group);
}

void AddEngineOptions(CLI::App& app, WorkerOptions& options) {
  const std::string group = "Engine";
  app.add_option("--context_tokens", options.context_tokens,
                 "Longest prompt and answer together; 0 is the model's own limit or what the KV "
                 "cache holds, whichever is less")
      ->check(CLI::Range(0, 1 << 24))
      ->group(group);
  app.add_option("--kv_cache_tokens", options.kv_cache_tokens,
                 "Tokens that the KV cache of the whole group holds; 0 is 16384 (more if "
                 "--context_tokens is more), or fewer where less memory is free; on GPUs it is as "
                 "many as fit")
      ->check(CLI::Range(0, 1 << 28))
      ->group(group);
  app.add_option(
         "--prefix_cache", options.prefix_cache,
         "Whether keys and values are kept for requests that begin with the same tokens, in "
         "what running requests leave of the KV cache. Answers are the same")
      ->type_name("BOOL")
      ->default_str("true")
      ->group(group);
  app.add_option("--steps_in_flight", options.steps_in_flight,
                 "1, or 2 to plan the next step while one runs. The tokens are the same. On CPUs, "
                 "where planning takes time from computing, 2 gains nothing")
      ->check(CLI::Range(1, 2))
      ->default_str("1; 2 on GPUs")
      ->group(group);
  app.add_option("--max_seqs", options.max_seqs, "Requests that run at once")
      ->check(CLI::Range(1, 4096))
      ->default_str("32; 128 on GPUs")
      ->group(group);
  app.add_option("--max_step_tokens", options.max_step_tokens,
                 "Tokens in one step of the engine, prompts and answers together")
      ->check(CLI::Range(1, 1 << 16))
      ->default_str("256; 2048 on GPUs")
      ->group(group);
  app.add_option("--max_waiting", options.max_waiting,
                 "Requests that may wait to run; more are refused")
      ->check(CLI::Range(1, 1 << 20))
      ->group(group);
  app.add_option("--max_waiting_tokens", options.max_waiting_tokens,
                 "Prompt tokens that they may have together; more are refused, unless nothing "
                 "waits")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40))
      ->group(group);
}

}  // namespace

void AddWorkerOptions(CLI::App& app, WorkerOptions& options) {
  app.add_option("--model", options.model_path, "A GGUF file or a Hugging Face folder")
      ->required()
      ->type_name("PATH");
  app.add_option_function<std::string>(
         "--weights",
         [&options](const std::string& name) {
           for (const WeightForm form : {WeightForm::kInt8, WeightForm::kInt4}) {
             if (name == WeightFormName(form)) options.weights = form;
           }
         },
         "What weights are kept in: file, as they are; or int8 or int4, which quantizes matrices "
         "of "
         "floats in groups of 32 (those of the vocabulary to int8 at the least) and says by how "
         "much that changes them")
      ->check(CLI::IsMember({"file", "int8", "int4"}))
      ->default_str(WeightFormName(options.weights));
  AddKvCacheDTypeOption(app, &options.kv_cache_dtype);
  app.add_option("--model_name", options.model_name, "What clients call it; default: its own name");
  AddHostPortOption(app, "--listen", &options.listen, PortUse::kListen,
                    "Where coordinators connect; [::] is every address of the machine");
  AddHostPortOption(
      app, "--metrics_listen", &options.metrics_listen, PortUse::kListen,
      "Where /metrics is; rank r of one host takes the port plus r, port 0 takes free "
      "ones");
  AddDurationOption(app, "--lame_duck", &options.lame_duck,
                    "How long requests are still taken after SIGTERM, health saying NOT_SERVING, "
                    "so that coordinators turn elsewhere first; SIGINT skips it");
  AddDurationOption(app, "--drain_timeout", &options.drain_timeout,
                    "How long running requests may go on after --lame_duck");
  AddDurationOption(app, "--self_probe_interval", &options.self_probe_interval,
                    "How often the leader calls its own port over a new connection; after six "
                    "calls in a row without an answer it ends, to be started again. 0s: never");
  AddLogFormatOption(app, &options.log_format);
  AddDeviceOptions(app, options);
  AddGroupOptions(app, options);
  AddEngineOptions(app, options);
}

void ApplyDefaults(const StepDefaults& defaults, const CLI::App& app, WorkerOptions& options) {
  const auto apply = [&](const std::string& name, int value, int* option) {
    if (app.count(name) == 0) *option = value;
  };
  apply("--max_seqs", defaults.max_seqs, &options.max_seqs);
  apply("--max_step_tokens", defaults.max_step_tokens, &options.max_step_tokens);
  apply("--steps_in_flight", defaults.steps_in_flight, &options.steps_in_flight);
}

absl::Status CheckWorkerOptions(const WorkerOptions& options) {
  if (options.rank >= options.group_size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--rank ", options.rank, " is not below --world ", options.group_size()));
  }
  if (absl::Status status = CheckRankLinkOptions(options.rank_links); !status.ok()) {
    return status;
  }
  if (options.over_hosts() && !options.group_socket.empty()) {
    return absl::InvalidArgumentError(
        "--group_socket is for ranks on one host, --leader for ranks on several: give one of the "
        "two");
  }
  if (options.world > 1 && options.group_socket.empty() && !options.over_hosts()) {
    return absl::InvalidArgumentError(
        "--world needs --group_socket, for ranks on one host, or --leader, for ranks on several");
  }
  if (options.stall_timeout < kMinStallTimeout) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--stall_timeout ", absl::FormatDuration(options.stall_timeout), " is below ",
        absl::FormatDuration(kMinStallTimeout), ": a busy machine would lose its ranks"));
  }
  if (options.max_step_tokens < options.max_seqs) {
    return absl::InvalidArgumentError(
        absl::StrCat("--max_step_tokens ", options.max_step_tokens, " is below --max_seqs ",
                     options.max_seqs, ": each running request needs a token in every step"));
  }
  const int last_port =
      options.metrics_listen.port + (options.over_hosts() ? 0 : options.group_size() - 1);
  if (options.metrics_listen.port != 0 && last_port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--metrics_listen ", options.metrics_listen.ToString(), " leaves no port for ",
        options.group_size(), " ranks: the last one's would be ", last_port, ", above 65535"));
  }
  return absl::OkStatus();
}

std::vector<std::string> RankCommand(const WorkerOptions& options, int rank) {
  const auto flag = [](absl::string_view name, const auto& value) {
    return absl::StrCat("--", name, "=", value);
  };
  std::vector<std::string> command = {
      "/proc/self/exe", flag("model", options.model_path), flag("world", options.group_size()),
      flag("rank", rank),
      // A Ctrl-C at the terminal reaches ranks too. They must not heed it, since the leader may
      // want to finish requests first.
      "--supervised", flag("group_socket", options.group_socket),
      flag("metrics_listen", options.metrics_listen.ToString()),
      flag("log_format", LogFormatName(options.log_format)),
      flag("determinism", kernels::DeterminismName(options.determinism)),
      flag("weights", WeightFormName(options.weights)),
      flag("kv_cache_dtype", KvCacheDTypeName(options.kv_cache_dtype)),
      flag("device", DeviceName(options.device)),
      flag("activations", ActivationName(options.activations)),
      flag("cpu_level", options.cpu_level), flag("threads", ThreadsPerRank(options)),
      flag("pin", PinName(options.pin)), flag("context_tokens", options.context_tokens),
      flag("startup_timeout", absl::FormatDuration(options.startup_timeout)),
      flag("step_timeout", absl::FormatDuration(options.step_timeout))};
  if (!options.devices.empty()) {
    command.push_back(flag("devices", absl::StrJoin(options.devices, ",")));
  }
  if (!options.cuda_cache_dir.empty()) {
    command.push_back(flag("cuda_cache_dir", options.cuda_cache_dir));
  }
  return command;
}

HostPort RankMetricsAddress(const WorkerOptions& options, int rank) {
  const HostPort& leader = options.metrics_listen;
  const bool at_leaders_port = leader.port == 0 || options.over_hosts();
  return {leader.host, at_leaders_port ? leader.port : leader.port + rank};
}

HostPlace PlaceOnHost(const WorkerOptions& options) {
  if (options.over_hosts()) return {.rank = 0, .ranks = 1};
  return {.rank = options.rank, .ranks = options.group_size()};
}

int ThreadsPerRank(const WorkerOptions& options) {
  if (options.threads > 0) return options.threads;
  const CpuBudget budget = GetCpuBudget();
  const int ranks_here = PlaceOnHost(options).ranks;
  const int threads = std::max(1, budget.cpus / ranks_here);
  LOG(INFO) << threads << " threads per rank: " << budget.cpus << " CPUs (" << budget.reason
            << ") over " << ranks_here << (ranks_here == 1 ? " rank" : " ranks")
            << (options.over_hosts() ? " of this host" : "");
  return threads;
}

absl::Status LimitContext(const WorkerOptions& options, ModelSpec& spec) {
  if (options.context_tokens == 0) {
    if (options.kv_cache_tokens > 0 && spec.context_tokens > options.kv_cache_tokens) {
      LOG(INFO) << "contexts end at " << options.kv_cache_tokens
                << " tokens, which --kv_cache_tokens"
                << " holds; the model's own limit is " << spec.context_tokens;
      spec.context_tokens = options.kv_cache_tokens;
    }
    return absl::OkStatus();
  }
  if (options.context_tokens > spec.context_tokens) {
    return absl::InvalidArgumentError(absl::StrCat("--context_tokens ", options.context_tokens,
                                                   " is more than the model's ",
                                                   spec.context_tokens));
  }
  spec.context_tokens = options.context_tokens;
  return absl::OkStatus();
}

absl::StatusOr<StepLimits> MakeStepLimits(const WorkerOptions& options, const ModelSpec& spec) {
  const StepLimits limits{.max_step_tokens = options.max_step_tokens,
                          .max_seqs = options.max_seqs,
                          .max_blocks_per_seq = BlocksFor(spec.context_tokens),
                          .kv_blocks = BlocksFor(options.kv_cache_tokens)};
  if (limits.kv_blocks < limits.max_blocks_per_seq) {
    return absl::InvalidArgumentError(
        absl::StrCat("--kv_cache_tokens ", options.kv_cache_tokens, " cannot hold one context of ",
                     spec.context_tokens, " tokens: raise it or lower --context_tokens"));
  }
  return limits;
}

}  // namespace phalanx
