#include "kernels/bench/sampling_entries.h"

#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/bench/op_bench.h"
#include "kernels/sampling/sharded_sample.h"
#include "kernels/testing/step_builder.h"

namespace phalanx::kernels {
namespace {

constexpr int64_t kLargeVocab = 200064;

// Logits spread as those of a language model: most of them lie some way below the best ones.
class ModelLogits {
 public:
  ModelLogits(OpBench& bench, int64_t rows, int64_t vocab)
      : rows_(rows), vocab_(vocab), memory_(*bench.backend->Allocate(rows * vocab * 4)) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0.0f, 3.0f);
    std::vector<float> values(rows * vocab);
    for (float& value : values) value = normal(random);
    bench.backend->CopyToBackend(*bench.stream, memory_->data(), values.data(), memory_->bytes());
    // `values` may go only when the copy is done.
    if (!bench.stream->Synchronize().ok()) std::abort();
    if (!bench.backend->Reserve({.max_seqs = rows, .local_vocab = vocab}).ok()) std::abort();
  }
  Tensor tensor() { return {memory_->data(), DType::kF32, rows_, vocab_}; }

 private:
  const int64_t rows_;
  const int64_t vocab_;
  const std::unique_ptr<Buffer> memory_;
};

void BenchSample(benchmark::State& state, OpBench& f, int64_t vocab, const SamplingRow& sampling) {
  const int rows = static_cast<int>(state.range(0));
  StepBuilder step(1);
  step.Add(0, rows, {});
  for (int i = 0; i < rows; ++i) step.WantLogits(i, sampling);
  ModelLogits logits(f, rows, vocab);
  std::vector<int32_t> tokens(rows);
  SamplingBatch batch = step.sampling();
  NoteWants(std::vector<SamplingRow>(rows, sampling), vocab, &batch);
  for (auto _ : state) {
    f.backend->Sample(*f.stream, batch, logits.tensor(), tokens.data());
  }
  Report(state, f.ceilings, 4.0 * rows * vocab, 0.0);
}

void BenchTokenLogProbs(benchmark::State& state, OpBench& f, int64_t vocab) {
  const int64_t rows = state.range(0);
  ModelLogits logits(f, rows, vocab);
  const std::vector<int32_t> targets(rows, static_cast<int32_t>(vocab / 2));
  std::vector<float> log_probs(rows);
  for (auto _ : state) {
    f.backend->TokenLogProbs(*f.stream, logits.tensor(), targets.data(), log_probs.data());
  }
  Report(state, f.ceilings, 4.0 * rows * vocab, kExponentialFlops * rows * vocab);
}

}  // namespace

std::vector<OpEntry> SamplingEntries() {
  const struct {
    const char* name;
    SamplingRow row;
  } kinds[] = {{"greedy", {}},
               {"temperature", {.temperature = 0.8f}},
               {"top_k", {.temperature = 0.8f, .top_k = 50}},
               {"top_p", {.temperature = 0.8f, .top_p = 0.9f}},
               {"top_k_top_p", {.temperature = 0.8f, .top_k = 50, .top_p = 0.9f}}};
  const std::vector<int64_t> rows = {1, 8, 32};
  std::vector<OpEntry> entries;
  for (const int64_t vocab : {kVocab, kLargeVocab}) {
    for (const auto& kind : kinds) {
      entries.push_back({Op::kSample, absl::StrCat("Sample/", kind.name, "/", vocab), rows,
                         [vocab, row = kind.row](benchmark::State& s, OpBench& f) {
                           BenchSample(s, f, vocab, row);
                         }});
    }
    entries.push_back(
        {Op::kTokenLogProbs, absl::StrCat("TokenLogProbs/", vocab), rows,
         [vocab](benchmark::State& s, OpBench& f) { BenchTokenLogProbs(s, f, vocab); }});
  }
  return entries;
}

}  // namespace phalanx::kernels
