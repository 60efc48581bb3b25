#include "kernels/bench/thread_team_bench.h"

#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdint>
#include <vector>

#include "kernels/cpu/thread_team.h"

namespace phalanx::kernels {
namespace {

constexpr int64_t kUnits = 16;
constexpr int kSpinsOfUnit = 500;
// So many that reading the clock does not count.
constexpr int kCallsAtOnce = 64;

// A unit writes a cache line of its own, as a group of outputs does.
struct alignas(64) Output {
  int64_t value = 0;
};

// Not inlined, so that it is the same code for one thread and for several.
[[gnu::noinline]] void DoUnits(int64_t begin, int64_t end, int64_t input,
                               std::vector<Output>& outputs) {
  for (int64_t unit = begin; unit < end; ++unit) {
    int64_t value = input;
    for (int i = 0; i < kSpinsOfUnit; ++i) {
      value += i;
      benchmark::DoNotOptimize(value);
    }
    outputs[unit].value = value;
  }
}

void BenchCall(benchmark::State& state, int num_threads) {
  using Clock = std::chrono::steady_clock;
  ThreadTeam team(num_threads);
  std::vector<Output> outputs(kUnits);
  std::chrono::duration<double> shared{};
  std::chrono::duration<double> alone{};
  int64_t input = 0;
  for (auto _ : state) {
    const auto begin = Clock::now();
    for (int call = 0; call < kCallsAtOnce; ++call, ++input) {
      team.ParallelFor(kUnits, 1,
                       [&](int64_t first, int64_t last) { DoUnits(first, last, input, outputs); });
    }
    const auto middle = Clock::now();
    for (int call = 0; call < kCallsAtOnce; ++call, ++input) DoUnits(0, kUnits, input, outputs);
    shared += middle - begin;
    alone += Clock::now() - middle;
  }
  const double calls = static_cast<double>(state.iterations()) * kCallsAtOnce;
  state.counters["us_a_call"] = shared.count() * 1e6 / calls;
  state.counters["us_beside_work"] = (shared - alone / num_threads).count() * 1e6 / calls;
}

}  // namespace

void RegisterThreadTeamBench(int num_threads) {
  benchmark::RegisterBenchmark(
      "ThreadTeam/call", [num_threads](benchmark::State& state) { BenchCall(state, num_threads); })
      ->Unit(benchmark::kMicrosecond)
      ->UseRealTime();
}

}  // namespace phalanx::kernels
