// How fast the engine takes in prompts and decodes: the whole engine in this process, without the
// network around it. `engine_bench --help` tells what can be measured.
//
// Prints a line for each case as soon as it is measured. With --tp it is the other ranks too, which
// it starts as the worker does.

#include <algorithm>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/log_writer.h"
#include "base/options.h"
#include "base/shutdown_signal.h"
#include "base/status.h"
#include "kernels/bench/ceilings.h"
#include "worker/bench/bench_engine.h"
#include "worker/bench/bench_model.h"
#include "worker/bench/bench_options.h"
#include "worker/bench/bench_report.h"
#include "worker/choose_platform.h"
#include "worker/member.h"

namespace phalanx {
namespace {

using Json = nlohmann::ordered_json;

// The sizes of the KV cache to try, the largest first: what the cases need, or what a flag says.
std::vector<int64_t> KvCacheSizes(const BenchOptions& options, int step_tokens) {
  if (options.worker.kv_cache_tokens > 0) return {options.worker.kv_cache_tokens};
  if (options.interactive) return {kDefaultKvCacheTokens};
  std::set<int64_t, std::greater<>> sizes;
  for (const BenchCase& bench_case : BenchCases(options)) {
    sizes.insert(KvTokens(bench_case, step_tokens));
  }
  return {sizes.begin(), sizes.end()};
}

BenchSetting SettingOf(const BenchModel& model, bool compute_prompts) {
  return {.model = model.spec().name,
          .backend = model.backend().Describe(),
          .processor = ProcessorName(),
          .ranks = model.world(),
          .threads = model.threads(),
          .weight_bytes = model.weight_bytes(),
          .kv_bytes_per_token = model.kv_bytes_per_token(),
          .kv_cache_tokens = int64_t{model.limits().kv_blocks} * kernels::kKvBlockTokens,
          .prompts_computed = compute_prompts,
          .ceilings = {}};
}

kernels::Ceilings CeilingsOf(const BenchModel& model) {
  // A GPU's are measured by kernel_bench.
  if (model.backend().is_asynchronous()) return {};
  return kernels::MeasureCeilings(model.world() * model.threads());
}

// Answers each line of standard input with one of standard output.
absl::Status Answer(BenchModel& model, BenchEngine& engine, BenchSetting setting) {
  std::cout << SettingJson(setting).dump() << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "ceilings") {
      setting.ceilings = CeilingsOf(model);
      std::cout << SettingJson(setting).dump() << std::endl;
      continue;
    }
    ASSIGN_OR_RETURN(const BenchCase bench_case, ParseBenchCase(line));
    ASSIGN_OR_RETURN(const BenchResult result, engine.Measure(bench_case));
    std::cout << ResultJson(result, setting).dump() << std::endl;
  }
  return absl::OkStatus();
}

// Measures one case after the other and prints the table. `results` has what was measured, even if
// an error ended it.
absl::Status MeasureAll(const std::vector<BenchCase>& cases, BenchEngine& engine,
                        const BenchSetting& setting, std::ostream& out, Json* results) {
  out << DescribeSetting(setting) << TableHead() << std::endl;
  for (const BenchCase& bench_case : cases) {
    ASSIGN_OR_RETURN(const BenchResult result, engine.Measure(bench_case));
    out << TableLine(result, setting) << std::endl;
    results->push_back(ResultJson(result, setting));
  }
  return absl::OkStatus();
}

absl::Status WriteJson(const std::string& path, const Json& json) {
  if (path == "-") {
    std::cout << json.dump(2) << std::endl;
    return absl::OkStatus();
  }
  std::ofstream file(path);
  file << json.dump(2) << "\n";
  file.close();
  return file ? absl::OkStatus() : absl::UnavailableError(absl::StrCat("cannot write ", path));
}

absl::Status Run(BenchOptions options, const Platform& platform, const ShutdownSignal& shutdown) {
  int largest = 1;
  if (!options.interactive) {
    for (const BenchCase& bench_case : BenchCases(options)) {
      largest = std::max(largest, bench_case.batch);
    }
  }
  options.worker.max_seqs = std::max(options.worker.max_seqs, largest);
  options.worker.max_step_tokens =
      std::max(options.worker.max_step_tokens, options.worker.max_seqs);
  const StepLimits planned{.max_step_tokens = options.worker.max_step_tokens,
                           .max_seqs = options.worker.max_seqs};
  ASSIGN_OR_RETURN(const MemorySource memory, platform.memory());
  // What a GPU's cache holds before it is written is not known to be zeros. That of each rank on
  // CPUs is, but prompts that are left out have only been tried with one.
  options.compute_prompts |= options.worker.group_size() > 1 || memory.of_each_rank;
  const std::vector<int64_t> sizes =
      KvCacheSizes(options, PromptStepTokens(planned, options.compute_prompts));
  if (sizes.empty()) return absl::InvalidArgumentError("there is nothing to measure");
  ASSIGN_OR_RETURN(const std::unique_ptr<BenchModel> model,
                   BenchModel::Load(options, sizes, platform, shutdown));
  BenchSetting setting = SettingOf(*model, options.compute_prompts);
  setting.ceilings = CeilingsOf(*model);
  BenchEngine engine(model.get(), options.compute_prompts, [&] { return shutdown.pending(); });
  if (options.interactive) return Answer(*model, engine, setting);
  Json json = SettingJson(setting);
  json["cases"] = Json::array();
  std::ostream& out = options.json_path == "-" ? std::cerr : std::cout;
  absl::Status status = MeasureAll(BenchCases(options), engine, setting, out, &json["cases"]);
  if (!options.json_path.empty()) status.Update(WriteJson(options.json_path, json));
  return status;
}

int Main(int argc, char** argv) {
  CLI::App app("Measures the engine: prompts and decodes, without the network.", "engine_bench");
  BenchOptions options;
  AddStandardOptions(app);
  AddBenchOptions(app, options);
  if (const std::optional<int> exit_code = ParseCommandLine(app, argc, argv)) return *exit_code;
  const LogWriter log_writer({.format = options.worker.log_format});
  const auto fail = [](const absl::Status& status, int exit_code) {
    LOG(ERROR) << status;
    return exit_code;
  };
  absl::Status status = CheckBenchOptions(options);
  if (!status.ok()) return fail(status, kExitUsage);
  ShutdownSignal shutdown;
  const absl::StatusOr<Platform> platform = ChoosePlatform(options.worker);
  if (!platform.ok()) return fail(platform.status(), kExitFailure);
  ApplyDefaults(platform->defaults, app, options.worker);
  if (options.worker.rank > 0) {
    status = RunMember(options.worker, *platform, shutdown);
  } else {
    status = Run(std::move(options), *platform, shutdown);
  }
  return status.ok() ? kExitOk : fail(status, kExitFailure);
}

}  // namespace
}  // namespace phalanx

int main(int argc, char** argv) { return phalanx::Main(argc, argv); }
