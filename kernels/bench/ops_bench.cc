// Every op of the CPU backend at the shapes of SmolLM2-135M, as bandwidth and arithmetic, each also
// in percent of what the same threads reach in the same run on plain reads and multiply-adds.
//
// Usage: ops_bench [--threads=N] [--activations=int8|bf16|f32] [--cpu_level=LEVEL]
//                  [Google Benchmark's own flags]
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "kernels/bench/ceilings.h"
#include "kernels/bench/op_entries.h"
#include "kernels/bench/thread_team_bench.h"
#include "kernels/cpu/cpu_backend.h"

namespace phalanx::kernels {
namespace {

// Exits for another name.
CpuProducts ProductsOf(absl::string_view activations) {
  if (activations == "int8") return CpuProducts::kInt8;
  if (activations == "bf16") return CpuProducts::kBFloat16;
  if (activations == "f32") return CpuProducts::kFloat32;
  std::fprintf(stderr, "ops_bench: --activations wants int8, bf16 or f32\n");
  std::exit(2);
}

// Takes the flags of this program out of the arguments. Exits where a value is none.
CpuOptions TakeOptions(int& argc, char** argv) {
  CpuOptions options = {.num_threads = 2, .products = CpuProducts::kInt8};
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    absl::string_view argument = argv[i];
    if (absl::ConsumePrefix(&argument, "--threads=")) {
      if (absl::SimpleAtoi(argument, &options.num_threads) && options.num_threads >= 1) continue;
      std::fprintf(stderr, "ops_bench: --threads wants a number from 1 on\n");
      std::exit(2);
    } else if (absl::ConsumePrefix(&argument, "--activations=")) {
      options.products = ProductsOf(argument);
    } else if (absl::ConsumePrefix(&argument, "--cpu_level=")) {
      const absl::StatusOr<CpuLevel> level = ParseCpuLevel(argument);
      if (!level.ok()) {
        std::fprintf(stderr, "ops_bench: --cpu_level: %s\n",
                     std::string(level.status().message()).c_str());
        std::exit(2);
      }
      options.level = *level;
    } else {
      argv[kept++] = argv[i];
    }
  }
  argc = kept;
  return options;
}

int Main(int argc, char** argv) {
  const CpuOptions options = TakeOptions(argc, argv);
  absl::StatusOr<std::unique_ptr<Backend>> backend = MakeCpuBackend(options);
  if (!backend.ok()) {
    std::fprintf(stderr, "ops_bench: %s\n", std::string(backend.status().message()).c_str());
    return 2;
  }
  OpBench bench = {.backend = *std::move(backend),
                   .stream = nullptr,
                   .ceilings = MeasureCeilings(options.num_threads)};
  bench.stream = bench.backend->NewStream();
  std::printf(
      "%s; ceilings: %.1f GB/s read, %.1f GFLOP/s multiply-add, %.1f GFLOP/s bf16, "
      "%.1f GOP/s int8\n",
      bench.backend->Describe().c_str(), bench.ceilings.read_gb_per_s,
      bench.ceilings.fma_gflop_per_s, bench.ceilings.bf16_gflop_per_s,
      bench.ceilings.int8_gop_per_s);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  for (const OpEntry& entry : AllOpEntries()) RegisterOpEntry(entry, bench);
  RegisterThreadTeamBench(options.num_threads);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace phalanx::kernels

int main(int argc, char** argv) { return phalanx::kernels::Main(argc, argv); }
