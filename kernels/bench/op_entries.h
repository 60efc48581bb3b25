// The benchmarks of every op of op_list.h, at the shapes of SmolLM2-135M.
#ifndef PHALANX_KERNELS_BENCH_OP_ENTRIES_H_
#define PHALANX_KERNELS_BENCH_OP_ENTRIES_H_

#include <benchmark/benchmark.h>

#include <vector>

#include "kernels/bench/op_bench.h"

namespace phalanx::kernels {

std::vector<OpEntry> AllOpEntries();

// Registers `entry` with Google Benchmark. `bench` is lent until the benchmarks have run.
benchmark::internal::Benchmark* RegisterOpEntry(const OpEntry& entry, OpBench& bench);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_BENCH_OP_ENTRIES_H_
