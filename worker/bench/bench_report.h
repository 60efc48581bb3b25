// What the engine bench prints.
#ifndef PHALANX_WORKER_BENCH_BENCH_REPORT_H_
#define PHALANX_WORKER_BENCH_BENCH_REPORT_H_

#include <string>
#include <vector>

#include "kernels/bench/ceilings.h"
#include "nlohmann/json.hpp"
#include "worker/bench/bench_case.h"

namespace phalanx {

// What all cases have in common.
struct BenchSetting {
  std::string model;
  std::string backend;    // Backend::Describe().
  std::string processor;  // Of the machine, as the system calls it.
  int ranks = 1;
  int threads = 1;  // Of each rank.
  double weight_bytes = 0;
  double kv_bytes_per_token = 0;
  int64_t kv_cache_tokens = 0;
  bool prompts_computed = false;
  // Of all threads of all ranks together, on CPUs; zeros on GPUs.
  kernels::Ceilings ceilings;
};

// The machine's name for its processor, by /proc/cpuinfo; "unknown" if it does not tell.
std::string ProcessorName();

// A few lines for people.
std::string DescribeSetting(const BenchSetting& setting);
// The head of the table, and a line of it. They belong together.
std::string TableHead();
std::string TableLine(const BenchResult& result, const BenchSetting& setting);

nlohmann::ordered_json SettingJson(const BenchSetting& setting);
// A case that was not measured has "skipped" and no figures.
nlohmann::ordered_json ResultJson(const BenchResult& result, const BenchSetting& setting);

}  // namespace phalanx

#endif  // PHALANX_WORKER_BENCH_BENCH_REPORT_H_
