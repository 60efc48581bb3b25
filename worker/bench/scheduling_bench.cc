// What a step costs beside the model: an engine whose model costs nothing, so that all the time is
// in taking commands, planning, booking results and telling sinks.
//
//   Decodes/N         N running sequences that decode, with a full prefix cache: each new block
//                     takes the place of a cached one
//   Churn/N           the same, where each sequence ends after 256 tokens and another one with a
//                     prompt of 256 tokens takes its place, half of it from the prefix cache
//
// "allocs" counts calls of operator new in a step.
//
// Usage: scheduling_bench [Google Benchmark's flags]
#include <benchmark/benchmark.h>

#include <cstdint>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "model/testing/allocated_bytes.h"
#include "prometheus/registry.h"
#include "worker/engine/engine.h"
#include "worker/engine/testing/free_step_executor.h"

namespace phalanx {
namespace {

constexpr int kContext = 1 << 15;
constexpr int kPromptTokens = 256;
constexpr int kAnswerTokens = 256;

class Bench {
 public:
  Bench(int sequences, int kv_blocks)
      : metrics_(registry_),
        engine_({.limits = {.max_step_tokens = 2048,
                            .max_seqs = sequences,
                            .max_blocks_per_seq = kContext / 16,
                            .kv_blocks = kv_blocks},
                 .request_limits = {.vocab_size = 1 << 20, .context_tokens = kContext},
                 .max_waiting = 1 << 20,
                 .max_waiting_tokens = int64_t{1} << 40},
                &executor_, MonotonicClock(), &metrics_),
        session_(engine_.OpenSession(&sink_).value()) {}
  ~Bench() {
    session_.reset();
    engine_.Stop();
    engine_.RunOnce();
  }

  // The first half of all prompts is the same.
  void Submit(int prompt_tokens, int max_new_tokens) {
    GenerationRequest request;
    request.prompt_token_ids.resize(prompt_tokens);
    std::iota(request.prompt_token_ids.begin(), request.prompt_token_ids.end(), 0);
    for (int i = prompt_tokens / 2; i < prompt_tokens; ++i) {
      request.prompt_token_ids[i] = static_cast<int32_t>((next_ * 977 + i) % (1 << 20));
    }
    request.max_new_tokens = max_new_tokens;
    CHECK_OK(session_->Submit(RequestId{next_++}, std::move(request)));
  }

  void Step() { engine_.RunOnce(); }

  // Requests come and go until the prefix cache has had to give way.
  void FillCache() {
    while (metrics_.kv_blocks_evicted_total.Value() == 0) {
      for (int i = 0; i < 16; ++i) Submit(4096, 1);
      while (sink_.TakeFinished() == 0 || engine_.load().running_requests > 0) Step();
    }
    sink_.TakeFinished();
  }

  int TakeFinished() { return sink_.TakeFinished(); }
  int running() const { return engine_.load().running_requests; }

 private:
  FreeStepExecutor executor_;
  prometheus::Registry registry_;
  EngineMetrics metrics_;
  CountingSink sink_;
  Engine engine_;
  std::unique_ptr<EngineSession> session_;
  uint64_t next_ = 0;
};

void Count(benchmark::State& state, size_t allocations_before, int64_t tokens) {
  const auto count = static_cast<double>(Allocations() - allocations_before);
  state.counters["allocs"] = count / static_cast<double>(state.iterations());
  state.counters["allocs_per_token"] = count / static_cast<double>(tokens);
}

// Few enough steps that no sequence comes to its end.
constexpr int kDecodeSteps = 4000;

void Decodes(benchmark::State& state) {
  const int sequences = static_cast<int>(state.range(0));
  Bench bench(sequences, sequences * (kDecodeSteps / 16 + 64) + 512);
  bench.FillCache();
  for (int i = 0; i < sequences; ++i) bench.Submit(kPromptTokens, kDecodeSteps + 300);
  while (bench.running() < sequences) bench.Step();
  for (int i = 0; i < 300; ++i) bench.Step();
  const size_t before = Allocations();
  for (auto _ : state) bench.Step();
  Count(state, before, state.iterations() * sequences);
}

void Churn(benchmark::State& state) {
  const int sequences = static_cast<int>(state.range(0));
  Bench bench(sequences, sequences * 64 + 512);
  bench.FillCache();
  // Begun one after the other, so that they end one after the other.
  for (int i = 0; i < sequences; ++i) {
    bench.Submit(kPromptTokens, kAnswerTokens);
    for (int done = 0; done * sequences < kAnswerTokens; ++done) bench.Step();
  }
  const size_t before = Allocations();
  for (auto _ : state) {
    bench.Step();
    state.PauseTiming();
    for (int i = bench.TakeFinished(); i > 0; --i) bench.Submit(kPromptTokens, kAnswerTokens);
    state.ResumeTiming();
  }
  Count(state, before, state.iterations() * sequences);
}

BENCHMARK(Decodes)
    ->Arg(1)
    ->Arg(64)
    ->Arg(512)
    ->Iterations(kDecodeSteps - 400)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(Churn)->Arg(64)->Arg(512)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace phalanx

BENCHMARK_MAIN();
