// The benchmarks of the ops that sample from whole rows of logits and score them.
#ifndef PHALANX_KERNELS_BENCH_SAMPLING_ENTRIES_H_
#define PHALANX_KERNELS_BENCH_SAMPLING_ENTRIES_H_

#include <vector>

#include "kernels/bench/op_bench.h"

namespace phalanx::kernels {

// Sample and TokenLogProbs, for the vocabularies of SmolLM2 and Phi-4-mini. Part of AllOpEntries.
std::vector<OpEntry> SamplingEntries();

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_BENCH_SAMPLING_ENTRIES_H_
