#include "kernels/bench/sharded_sampling_entries.h"

#include <memory>
#include <utility>

#include "kernels/bench/op_bench.h"
#include "kernels/testing/step_builder.h"

namespace phalanx::kernels {
namespace {

// What one of two ranks has of a batch of kVocab logits a row. Its words are taken for those of all
// ranks.
class HalfVocab {
 public:
  HalfVocab(OpBench& bench, int rows, const SamplingRow& sampling)
      : rows_(rows),
        step_(1),
        logits_(bench, rows, kVocab / 2),
        words_(*bench.backend->Allocate(sizeof(uint64_t) * rows * kWordsOfRow)) {
    step_.Add(0, rows, {});
    for (int i = 0; i < rows; ++i) step_.WantLogits(i, sampling);
    auto* next = static_cast<uint64_t*>(words_->data());
    const auto take = [&](int64_t count) { return std::exchange(next, next + count * rows); };
    shard_.vocab = kVocab;
    shard_.maxima = take(1);
    shard_.cuts = reinterpret_cast<SampleCut*>(take(2 * kCutKinds));
    shard_.typical_sums = take(kTypicalSums);
    shard_.sums = take(kDigitValues);
    shard_.sums_of_ranks = shard_.sums;
    shard_.kept = take(1);
    shard_.kept_of_ranks = shard_.kept;
    shard_.drawn = take(1);
    bench.backend->RowMaxima(*bench.stream, logits(), 0, shard_.maxima);
  }

  SamplingBatch batch() const { return step_.sampling(); }
  Tensor logits() { return logits_.tensor(); }
  const SampleShard& shard() const { return shard_; }
  double bytes() const { return 4.0 * static_cast<double>(rows_) * kVocab / 2; }

 private:
  static constexpr int kWordsOfRow = 3 + 2 * kCutKinds + kTypicalSums + kDigitValues;

  const int rows_;
  StepBuilder step_;
  Activations logits_;
  const std::unique_ptr<Buffer> words_;
  SampleShard shard_;
};

constexpr SamplingRow kTopPRow = {.temperature = 0.8f, .top_p = 0.9f};
constexpr SamplingRow kTypicalRow = {.temperature = 0.8f, .typical_p = 0.9f};

void BenchRowMaxima(benchmark::State& state, OpBench& f) {
  HalfVocab half(f, static_cast<int>(state.range(0)), {});
  for (auto _ : state) {
    f.backend->RowMaxima(*f.stream, half.logits(), 0, half.shard().maxima);
  }
  Report(state, f.ceilings, half.bytes(), 0.0);
}

void BenchTypicalSums(benchmark::State& state, OpBench& f) {
  HalfVocab half(f, static_cast<int>(state.range(0)), kTypicalRow);
  for (auto _ : state) {
    f.backend->TypicalSums(*f.stream, half.batch(), half.logits(), half.shard());
  }
  Report(state, f.ceilings, half.bytes(), kExponentialFlops * half.bytes() / 4);
}

// A mask that allows every second token, and 1,000 edits.
void BenchAdjustLogits(benchmark::State& state, OpBench& f) {
  const auto rows = static_cast<int>(state.range(0));
  constexpr int kEdits = 1000;
  std::vector<LogitEdit> edits(kEdits);
  for (int i = 0; i < kEdits; ++i) edits[i] = {.token = i * 7, .count = 1, .seen = 1};
  const std::vector<uint32_t> mask(MaskWords(kVocab), 0x55555555);
  HalfVocab half(f, rows, {.repetition_penalty = 1.1f, .edits_end = kEdits, .mask_begin = 0});
  SamplingBatch batch = half.batch();
  batch.edits = edits.data();
  batch.mask_words = mask.data();
  batch.num_edits = kEdits;
  batch.num_mask_words = static_cast<int32_t>(mask.size());
  for (auto _ : state) f.backend->AdjustLogits(*f.stream, batch, half.logits(), 0);
  Report(state, f.ceilings, half.bytes() * 1.5, 0.0);
}

void BenchTopLogits(benchmark::State& state, OpBench& f) {
  const int64_t rows = state.range(0);
  HalfVocab half(f, static_cast<int>(rows), {});
  std::vector<uint64_t> words(rows * kMaxTopLogProbs);
  for (auto _ : state) {
    f.backend->TopLogits(*f.stream, half.logits(), 0, kMaxTopLogProbs, words.data());
  }
  Report(state, f.ceilings, half.bytes(), 0.0);
}

// The first digit, for which every token counts.
void BenchCutSums(benchmark::State& state, OpBench& f, CutKind kind, const SamplingRow& row) {
  HalfVocab half(f, static_cast<int>(state.range(0)), row);
  if (kind == CutKind::kTypical) {
    f.backend->TypicalSums(*f.stream, half.batch(), half.logits(), half.shard());
  }
  for (auto _ : state) {
    f.backend->CutSums(*f.stream, half.batch(), half.logits(), half.shard(), kind, 0);
  }
  const double flops = kind != CutKind::kTopK ? kExponentialFlops * half.bytes() / 4 : 0.0;
  Report(state, f.ceilings, half.bytes(), flops);
}

// The first digit, which is found anew however often it is asked for.
void BenchNarrowCut(benchmark::State& state, OpBench& f) {
  const auto rows = static_cast<int>(state.range(0));
  HalfVocab half(f, rows, kTopPRow);
  f.backend->CutSums(*f.stream, half.batch(), half.logits(), half.shard(), CutKind::kTopP, 0);
  for (auto _ : state) {
    f.backend->NarrowCut(*f.stream, half.batch(), half.logits(), half.shard(), CutKind::kTopP, 0);
  }
  Report(state, f.ceilings, 8.0 * rows * kDigitValues, 0.0);
}

void BenchKeptWeights(benchmark::State& state, OpBench& f) {
  HalfVocab half(f, static_cast<int>(state.range(0)), {.temperature = 0.8f});
  for (auto _ : state) {
    f.backend->KeptWeights(*f.stream, half.batch(), half.logits(), half.shard());
  }
  Report(state, f.ceilings, half.bytes(), kExponentialFlops * half.bytes() / 4);
}

// Reads the sums of the runs and the logits of one run.
void BenchTakeTokens(benchmark::State& state, OpBench& f) {
  const int64_t rows = state.range(0);
  const std::vector<uint64_t> drawn(rows, 7);
  std::vector<int32_t> tokens(rows);
  for (auto _ : state) f.backend->TakeTokens(*f.stream, rows, drawn.data(), tokens.data());
  Report(state, f.ceilings, 12.0 * static_cast<double>(rows), 0.0);
}

void BenchDrawTokens(benchmark::State& state, OpBench& f) {
  const auto rows = static_cast<int>(state.range(0));
  HalfVocab half(f, rows, {.temperature = 0.8f});
  f.backend->KeptWeights(*f.stream, half.batch(), half.logits(), half.shard());
  for (auto _ : state) {
    f.backend->DrawTokens(*f.stream, half.batch(), half.logits(), half.shard());
  }
  Report(state, f.ceilings, rows * (8.0 * kDigitValues + 2.0 * kVocab / kDigitValues), 0.0);
}

void BenchLogProbTerms(benchmark::State& state, OpBench& f) {
  const int64_t rows = state.range(0);
  HalfVocab half(f, static_cast<int>(rows), {});
  const std::vector<int32_t> targets(rows, kVocab / 3);
  std::vector<uint64_t> terms(rows * kLogProbTerms);
  for (auto _ : state) {
    f.backend->LogProbTerms(*f.stream, half.logits(), 0, targets.data(), half.shard().maxima,
                            terms.data());
  }
  Report(state, f.ceilings, half.bytes(), kExponentialFlops * half.bytes() / 4);
}

void BenchCombineLogProbs(benchmark::State& state, OpBench& f) {
  const int64_t rows = state.range(0);
  HalfVocab half(f, static_cast<int>(rows), {});
  const std::vector<uint64_t> terms(rows * kLogProbTerms, uint64_t{1} << 43);
  std::vector<float> log_probs(rows);
  for (auto _ : state) {
    f.backend->CombineLogProbs(*f.stream, rows, half.shard().maxima, terms.data(),
                               log_probs.data());
  }
  Report(state, f.ceilings, 36.0 * static_cast<double>(rows), 0.0);
}

}  // namespace

std::vector<OpEntry> ShardedSamplingEntries() {
  const std::vector<int64_t> decodes = {1, 8};
  return {
      {Op::kRowMaxima, "RowMaxima", decodes, BenchRowMaxima},
      {Op::kCutSums, "CutSums/top_k", decodes,
       [](benchmark::State& s, OpBench& f) {
         BenchCutSums(s, f, CutKind::kTopK, {.temperature = 0.8f, .top_k = 50});
       }},
      {Op::kCutSums, "CutSums/top_p", decodes,
       [](benchmark::State& s, OpBench& f) { BenchCutSums(s, f, CutKind::kTopP, kTopPRow); }},
      {Op::kCutSums, "CutSums/typical_p", decodes,
       [](benchmark::State& s, OpBench& f) { BenchCutSums(s, f, CutKind::kTypical, kTypicalRow); }},
      {Op::kAdjustLogits, "AdjustLogits", decodes, BenchAdjustLogits},
      {Op::kTypicalSums, "TypicalSums", decodes, BenchTypicalSums},
      {Op::kTopLogits, "TopLogits", decodes, BenchTopLogits},
      {Op::kNarrowCut, "NarrowCut", decodes, BenchNarrowCut},
      {Op::kKeptWeights, "KeptWeights", decodes, BenchKeptWeights},
      {Op::kDrawTokens, "DrawTokens", decodes, BenchDrawTokens},
      {Op::kTakeTokens, "TakeTokens", decodes, BenchTakeTokens},
      {Op::kLogProbTerms, "LogProbTerms", decodes, BenchLogProbTerms},
      {Op::kCombineLogProbs, "CombineLogProbs", decodes, BenchCombineLogProbs}};
}

}  // namespace phalanx::kernels
