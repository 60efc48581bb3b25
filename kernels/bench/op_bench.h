// What the benchmarks of ops share: what they run on, the shapes of SmolLM2-135M, activations, and
// how results are reported.
#ifndef PHALANX_KERNELS_BENCH_OP_BENCH_H_
#define PHALANX_KERNELS_BENCH_OP_BENCH_H_

#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/bench/ceilings.h"
#include "kernels/op_list.h"
#include "kernels/ops.h"
#include "kernels/testing/random_linear.h"

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

inline constexpr int64_t kHidden = 576;
inline constexpr int64_t kFfn = 1536;
inline constexpr int64_t kVocab = 49152;
inline constexpr int kLayers = 30;
inline constexpr int kQHeads = 9;
inline constexpr int kKvHeads = 3;
inline constexpr int kHeadDim = 64;
inline constexpr int64_t kQkv = (kQHeads + 2 * kKvHeads) * kHeadDim;

// Nominal cost of an exponential and what else is done to an element beside it: a polynomial of
// degree 7, the reduction of its argument, a sum or quotient.
inline constexpr double kExponentialFlops = 20.0;

// Random activations in memory of the backend, as worker/model has them.
class Activations {
 public:
  Activations(OpBench& bench, int64_t rows, int64_t cols)
      : rows_(rows), cols_(cols), memory_(*bench.backend->Allocate(rows * cols * sizeof(float))) {
    const std::vector<float> values = RandomFloats(rows * cols, 1);
    bench.backend->CopyToBackend(*bench.stream, memory_->data(), values.data(), memory_->bytes());
    // `values` may go only when the copy is done.
    if (!bench.stream->Synchronize().ok()) std::abort();
  }
  Tensor tensor() { return {memory_->data(), DType::kF32, rows_, cols_}; }

 private:
  const int64_t rows_;
  const int64_t cols_;
  const std::unique_ptr<Buffer> memory_;
};

// Adds what one iteration has to move and compute to the report. Bytes are counted once each,
// however often a kernel reads them; a working set that fits a cache can be above 100 % of reads
// from memory.
inline void Report(benchmark::State& state, const Ceilings& ceilings, double bytes, double flops) {
  using benchmark::Counter;
  const auto rate = Counter::kIsIterationInvariantRate;
  state.counters["GB/s"] = Counter(bytes * 1e-9, rate);
  state.counters["GFLOP/s"] = Counter(flops * 1e-9, rate);
  state.counters["%read"] = Counter(bytes * 1e-9 / ceilings.read_gb_per_s * 100, rate);
  if (ceilings.int8_gop_per_s > 0) {
    state.counters["%int8"] = Counter(flops * 1e-9 / ceilings.int8_gop_per_s * 100, rate);
  }
  if (ceilings.bf16_gflop_per_s > 0) {
    state.counters["%bf16"] = Counter(flops * 1e-9 / ceilings.bf16_gflop_per_s * 100, rate);
  }
  state.counters["%fma"] = Counter(flops * 1e-9 / ceilings.fma_gflop_per_s * 100, rate);
}

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_BENCH_OP_BENCH_H_
