// The benchmarks of the ops that sample where the vocabulary is split over ranks.
#ifndef PHALANX_KERNELS_BENCH_SHARDED_SAMPLING_ENTRIES_H_
#define PHALANX_KERNELS_BENCH_SHARDED_SAMPLING_ENTRIES_H_

#include <vector>

#include "kernels/bench/op_bench.h"

namespace phalanx::kernels {

// One rank's part of each op, with half of the vocabulary. Part of AllOpEntries.
std::vector<OpEntry> ShardedSamplingEntries();

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_BENCH_SHARDED_SAMPLING_ENTRIES_H_
