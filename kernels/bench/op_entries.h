// The benchmarks of every op of op_list.h, at the shapes of SmolLM2-135M.
#ifndef PHALANX_KERNELS_BENCH_OP_ENTRIES_H_
#define PHALANX_KERNELS_BENCH_OP_ENTRIES_H_

#include <benchmark/benchmark.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/bench/ceilings.h"
#include "kernels/op_list.h"
#include "kernels/ops.h"

namespace phalanx::kernels {

// What all benchmarks run on.
struct OpBench {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Stream> stream;
  // Rates are also reported in percent of these.
  Ceilings ceilings;
};

// A benchmark of one op.
struct OpEntry {
  Op op;
  std::string name;           // Begins with OpName(op).
  std::vector<int64_t> rows;  // Run once for each: state.range(0).
  // Reports the bytes that the op has to move at least and what it computes, as rates and in
  // percent of the ceilings.
  std::function<void(benchmark::State& state, OpBench& bench)> run;
};

std::vector<OpEntry> AllOpEntries();

// Registers `entry` with Google Benchmark. `bench` is lent until the benchmarks have run.
benchmark::internal::Benchmark* RegisterOpEntry(const OpEntry& entry, OpBench& bench);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_BENCH_OP_ENTRIES_H_
