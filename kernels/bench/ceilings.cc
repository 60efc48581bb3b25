#include "kernels/bench/ceilings.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "kernels/cpu/thread_team.h"
#include "kernels/host_memory.h"

namespace phalanx::kernels {
namespace {

constexpr int kRounds = 5;
constexpr size_t kReadBytes = size_t{256} << 20;
constexpr int kFmaSteps = 4000000;
// Independent chains in MultiplyAdd: enough to hide the latency, few enough for 16 registers.
constexpr int kChains = 12;

// Eight floats; one register where there is AVX2, more elsewhere.
typedef float Floats __attribute__((vector_size(32)));
typedef int64_t Words __attribute__((vector_size(32)));

// Two variants of one body, picked when the program is loaded.
#if defined(__x86_64__) && !defined(__clang__)
#define PHALANX_FOR_EACH_MACHINE __attribute__((target_clones("arch=haswell", "default")))
#else
#define PHALANX_FOR_EACH_MACHINE
#endif

// Makes the compiler forget what it knows of `values`.
template <typename... T>
inline __attribute__((always_inline)) void Hide(T&... values) {
  (benchmark::DoNotOptimize(values), ...);
}

PHALANX_FOR_EACH_MACHINE void MultiplyAdd() {
  Floats s0 = {}, s1 = {}, s2 = {}, s3 = {}, s4 = {}, s5 = {};
  Floats s6 = {}, s7 = {}, s8 = {}, s9 = {}, s10 = {}, s11 = {};
  Floats factor = {0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f};
  // Chains that the compiler knows to be equal would be computed once.
  Hide(factor, s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11);
  for (int i = 0; i < kFmaSteps; ++i) {
    s0 = s0 * factor + factor;
    s1 = s1 * factor + factor;
    s2 = s2 * factor + factor;
    s3 = s3 * factor + factor;
    s4 = s4 * factor + factor;
    s5 = s5 * factor + factor;
    s6 = s6 * factor + factor;
    s7 = s7 * factor + factor;
    s8 = s8 * factor + factor;
    s9 = s9 * factor + factor;
    s10 = s10 * factor + factor;
    s11 = s11 * factor + factor;
  }
  Hide(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11);
}

PHALANX_FOR_EACH_MACHINE void Read(const Words* from, int64_t begin, int64_t end) {
  Words sums[4] = {};
  for (int64_t i = begin; i + 4 <= end; i += 4) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) sums[j] ^= from[i + j];
  }
  for (Words& sum : sums) benchmark::DoNotOptimize(sum);
}

template <typename Function>
double Seconds(Function function) {
  const auto start = std::chrono::steady_clock::now();
  function();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Ceilings MeasureCeilings(int num_threads) {
  ThreadTeam team(num_threads);
  Ceilings best;
  const auto memory = HostBuffer::Create(kReadBytes);
  if (!memory.ok()) return best;
  std::fill_n(static_cast<char*>((*memory)->data()), kReadBytes, 1);
  const auto* words = static_cast<const Words*>((*memory)->data());
  for (int round = 0; round < kRounds; ++round) {
    const double fma = Seconds([&] { team.Run([](int) { MultiplyAdd(); }); });
    const double flops = 2.0 * 8 * kChains * kFmaSteps * num_threads;
    best.fma_gflop_per_s = std::max(best.fma_gflop_per_s, flops / fma * 1e-9);
    const double read = Seconds([&] {
      team.ParallelFor(kReadBytes / sizeof(Words), 4,
                       [&](int64_t begin, int64_t end) { Read(words, begin, end); });
    });
    best.read_gb_per_s = std::max(best.read_gb_per_s, kReadBytes / read * 1e-9);
  }
  return best;
}

}  // namespace phalanx::kernels
