// Every op of the CPU backend at the shapes of SmolLM2-135M, as bandwidth and arithmetic, each also
// in percent of what the same threads reach in the same run on plain reads and multiply-adds.
//
// Usage: ops_bench [--threads=N] [Google Benchmark's own flags]
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "kernels/bench/ceilings.h"
#include "kernels/bench/op_entries.h"
#include "kernels/cpu/cpu_backend.h"

namespace phalanx::kernels {
namespace {

// Takes --threads=N out of the arguments; by default 2. Exits where N is no number of threads.
int TakeThreads(int& argc, char** argv) {
  int threads = 2;
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    absl::string_view argument = argv[i];
    if (!absl::ConsumePrefix(&argument, "--threads=")) {
      argv[kept++] = argv[i];
    } else if (!absl::SimpleAtoi(argument, &threads) || threads < 1) {
      std::fprintf(stderr, "ops_bench: --threads wants a number from 1 on\n");
      std::exit(2);
    }
  }
  argc = kept;
  return threads;
}

int Main(int argc, char** argv) {
  const int threads = TakeThreads(argc, argv);
  OpBench bench = {.backend = *MakeCpuBackend({.num_threads = threads}),
                   .stream = nullptr,
                   .ceilings = MeasureCeilings(threads)};
  bench.stream = bench.backend->NewStream();
  std::printf("%s; ceilings: %.1f GB/s read, %.1f GFLOP/s multiply-add\n",
              bench.backend->Describe().c_str(), bench.ceilings.read_gb_per_s,
              bench.ceilings.fma_gflop_per_s);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  for (const OpEntry& entry : AllOpEntries()) RegisterOpEntry(entry, bench);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace phalanx::kernels

int main(int argc, char** argv) { return phalanx::kernels::Main(argc, argv); }
