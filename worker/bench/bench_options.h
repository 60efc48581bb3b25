// The engine bench's command line: the worker's own, and what is to be measured.
#ifndef PHALANX_WORKER_BENCH_BENCH_OPTIONS_H_
#define PHALANX_WORKER_BENCH_BENCH_OPTIONS_H_

#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "worker/bench/bench_case.h"
#include "worker/worker_options.h"

namespace phalanx {

struct BenchOptions {
  WorkerOptions worker;
  // A shape of synthetic_model.h in place of worker.model_path; empty: the file.
  std::string synthetic;
  std::string synthetic_type = "q4_1";
  std::vector<int> prefill = {256, 512, 2048};
  std::vector<int> batches = {1, 2, 4, 8, 16, 32};
  std::vector<int> depths = {0, 1024, 4096};
  int steps = 16;
  int repeats = 3;
  int saturated_seconds = 0;
  int mixed_prompts = 0;
  bool compute_prompts = false;
  bool interactive = false;
  std::string json_path;
};

// Adds the worker's options, with defaults that suit a bench, and the bench's own. `options` holds
// the defaults and must outlive the parsing.
void AddBenchOptions(CLI::App& app, BenchOptions& options);

// INVALID_ARGUMENT if options contradict each other or those of the worker do.
absl::Status CheckBenchOptions(const BenchOptions& options);

// What the options ask for, in the order in which it is measured.
std::vector<BenchCase> BenchCases(const BenchOptions& options);

}  // namespace phalanx

#endif  // PHALANX_WORKER_BENCH_BENCH_OPTIONS_H_
