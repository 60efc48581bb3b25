// Benchmarks of products that take the norm of the residual.
#ifndef PHALANX_KERNELS_BENCH_NORM_PRODUCT_ENTRIES_H_
#define PHALANX_KERNELS_BENCH_NORM_PRODUCT_ENTRIES_H_

#include <vector>

#include "kernels/bench/op_bench.h"

namespace phalanx::kernels {

// In the shapes of query, key and value, and of gate and up. Part of AllOpEntries.
std::vector<OpEntry> NormProductEntries();

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_BENCH_NORM_PRODUCT_ENTRIES_H_
