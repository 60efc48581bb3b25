#include "kernels/cpu/sharded_sampling.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <numeric>

#include "absl/types/span.h"
#include "kernels/sampling/adjust.h"
#include "kernels/sampling/log_prob.h"
#include "kernels/sampling/sharded_sample.h"
#include "kernels/sampling/top_logits.h"
#include "kernels/sampling/whole_rows.h"

namespace phalanx::kernels {
namespace {

// A piece of fewer logits takes less time than another thread takes to begin.
constexpr int64_t kLeastPiece = 8192;
// Pieces for each thread: some, so that threads that are late find less to do.
constexpr int64_t kPiecesPerThread = 4;
// With so many rows for each thread, little time is lost while the last row keeps one thread busy.
constexpr int64_t kWholeRowsPerThread = 4;

void AddTo(uint64_t& sum, uint64_t value) {
  if (value != 0) std::atomic_ref<uint64_t>(sum).fetch_add(value, std::memory_order_relaxed);
}

void RaiseTo(uint64_t& maximum, uint64_t value) {
  const std::atomic_ref<uint64_t> shared(maximum);
  uint64_t seen = shared.load(std::memory_order_relaxed);
  while (seen < value && !shared.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

absl::Span<const float> Columns(Tensor logits, int64_t row, int64_t begin, int64_t end) {
  return {logits.f32() + row * logits.cols + begin, static_cast<size_t>(end - begin)};
}

Tensor RowTensor(Tensor logits, int64_t i) {
  return {logits.f32() + i * logits.cols, logits.dtype, 1, logits.cols};
}

// The words of row `i` of a world of one rank, as those of a batch of its own.
SampleShard RowWords(const SampleShard& shard, int64_t i) {
  SampleShard row = shard;
  row.maxima += i;
  row.cuts += kCutKinds * i;
  row.typical_sums += kTypicalSums * i;
  row.sums += i * kDigitValues;
  row.sums_of_ranks = row.sums;
  row.kept += i;
  row.kept_of_ranks = row.kept;
  row.drawn += i;
  return row;
}

SamplingWords Place(std::byte* base, int64_t rows, size_t* bytes) {
  size_t offset = 0;
  const auto take = [&](auto*& to, int64_t count) {
    using T = std::remove_reference_t<decltype(*to)>;
    // Without memory only the bytes are counted.
    if (base != nullptr) to = reinterpret_cast<T*>(base + offset);
    const size_t size = static_cast<size_t>(count) * sizeof(T);
    offset += (size + kTensorAlignment - 1) / kTensorAlignment * kTensorAlignment;
  };
  SamplingWords words;
  SampleShard& shard = words.shard;
  take(shard.maxima, rows);
  take(shard.cuts, kCutKinds * rows);
  take(shard.typical_sums, kTypicalSums * rows);
  take(shard.sums, rows * kDigitValues);
  take(shard.kept, rows);
  take(shard.drawn, rows);
  take(words.log_prob_terms, rows * kLogProbTerms);
  // All ranks are this one.
  shard.sums_of_ranks = shard.sums;
  shard.kept_of_ranks = shard.kept;
  *bytes = offset;
  return words;
}

}  // namespace

size_t SamplingWordsBytes(int64_t rows) {
  size_t bytes = 0;
  Place(nullptr, rows, &bytes);
  return bytes;
}

SamplingWords PlaceSamplingWords(void* memory, int64_t rows) {
  size_t bytes = 0;
  return Place(static_cast<std::byte*>(memory), rows, &bytes);
}

struct CpuSampling::WholeRows {
  const CpuSampling& sampling;
  const SamplingBatch& batch;
  const Tensor logits;
  const SampleShard& shard;
  int32_t* const tokens;

  void RowMaxima() const { sampling.RowMaxima(logits, 0, shard.maxima); }
  void CutSums(CutKind kind, int digit) const {
    sampling.CutSums(batch, logits, shard, kind, digit);
  }
  void NarrowCut(CutKind kind, int digit) const {
    sampling.NarrowCut(batch, logits, shard, kind, digit);
  }
  void TypicalSums() const { sampling.TypicalSums(batch, logits, shard); }
  void KeptWeights() const { sampling.KeptWeights(batch, logits, shard); }
  void DrawTokens() const { sampling.DrawTokens(batch, logits, shard); }
  void TakeTokens() const { sampling.TakeTokens(logits.rows, shard.drawn, tokens); }
};

void CpuSampling::AdjustLogits(const SamplingBatch& batch, Tensor logits, int64_t first_id) const {
  ForEachRow(batch.num_logit_rows, logits.cols / 32, [&](int64_t i) {
    AdjustRow(batch, batch.sampling[i], first_id,
              {logits.f32() + i * logits.cols, static_cast<size_t>(logits.cols)});
  });
}

void CpuSampling::Sample(const SamplingBatch& batch, Tensor logits, const SampleShard& shard,
                         int32_t* tokens) const {
  if (!GivesOutRows(logits.rows)) {
    DrawWholeRows(batch, WholeRows{*this, batch, logits, shard, tokens});
    return;
  }
  ForEachRowAlone(logits.rows, [&](int64_t i, const CpuSampling& alone) {
    SamplingBatch row;
    row.num_logit_rows = 1;
    row.sampling = batch.sampling + i;
    NoteWants({row.sampling, 1}, shard.vocab, &row);
    DrawWholeRows(row, WholeRows{alone, row, RowTensor(logits, i), RowWords(shard, i), tokens + i});
  });
}

void CpuSampling::TokenLogProbs(Tensor logits, const int32_t* targets, const SamplingWords& words,
                                float* log_probs) const {
  const auto score = [](const CpuSampling& sampling, Tensor rows, const int32_t* of_rows,
                        uint64_t* maxima, uint64_t* terms, float* to) {
    sampling.RowMaxima(rows, 0, maxima);
    sampling.LogProbTerms(rows, 0, of_rows, maxima, terms);
    sampling.CombineLogProbs(rows.rows, maxima, terms, to);
  };
  uint64_t* const maxima = words.shard.maxima;
  uint64_t* const terms = words.log_prob_terms;
  if (!GivesOutRows(logits.rows)) {
    score(*this, logits, targets, maxima, terms, log_probs);
    return;
  }
  ForEachRowAlone(logits.rows, [&](int64_t i, const CpuSampling& alone) {
    score(alone, RowTensor(logits, i), targets + i, maxima + i, terms + i * kLogProbTerms,
          log_probs + i);
  });
}

void CpuSampling::RowMaxima(Tensor logits, int64_t first_id, uint64_t* maxima) const {
  std::fill_n(maxima, logits.rows, 0);
  ForEachPiece(logits.rows, logits.cols, [&](int64_t row, int64_t begin, int64_t end) {
    RaiseTo(maxima[row], MaximumOf(Columns(logits, row, begin, end), first_id + begin, kernels_));
  });
}

void CpuSampling::CutSums(const SamplingBatch& batch, Tensor logits, const SampleShard& shard,
                          CutKind kind, int digit) const {
  const int64_t rows = batch.num_logit_rows;
  std::fill_n(shard.sums, rows * kDigitValues, 0);
  ForEachPiece(rows, logits.cols, [&](int64_t i, int64_t begin, int64_t end) {
    const RowShard row = RowOf(batch, logits, shard, i);
    if (!HasCut(row, kind)) return;
    std::array<uint64_t, kDigitValues> sums = {};
    AddCutSums(row, begin, end, kind, digit, sums.data(), kernels_);
    uint64_t* const of_row = shard.sums + i * kDigitValues;
    for (int value = 0; value < kDigitValues; ++value) AddTo(of_row[value], sums[value]);
  });
}

void CpuSampling::TypicalSums(const SamplingBatch& batch, Tensor logits,
                              const SampleShard& shard) const {
  const int64_t rows = batch.num_logit_rows;
  std::fill_n(shard.typical_sums, rows * kTypicalSums, 0);
  ForEachPiece(rows, logits.cols, [&](int64_t i, int64_t begin, int64_t end) {
    const RowShard row = RowOf(batch, logits, shard, i);
    if (!HasCut(row, CutKind::kTypical)) return;
    std::array<uint64_t, kTypicalSums> sums = {};
    AddTypicalSums(row, begin, end, sums.data(), kernels_);
    for (int s = 0; s < kTypicalSums; ++s) AddTo(shard.typical_sums[i * kTypicalSums + s], sums[s]);
  });
}

void CpuSampling::NarrowCut(const SamplingBatch& batch, Tensor logits, const SampleShard& shard,
                            CutKind kind, int digit) const {
  // With the last digit, ties may have to be looked for among all logits of a row.
  const int64_t row_cost = digit == kCutDigits - 1 ? logits.cols : kDigitValues;
  ForEachRow(batch.num_logit_rows, row_cost,
             [&](int64_t i) { NarrowRow(batch, logits, shard, i, kind, digit, kernels_); });
}

void CpuSampling::KeptWeights(const SamplingBatch& batch, Tensor logits,
                              const SampleShard& shard) const {
  const int64_t rows = batch.num_logit_rows;
  if (rows == 0) return;
  // A piece is some of the runs of a row.
  const int64_t pieces = std::min<int64_t>(PiecesPerRow(rows, logits.cols), kDigitValues);
  team_.Run(static_cast<uint32_t>(rows * pieces), [&](uint32_t part) {
    const int64_t i = part / pieces;
    const int64_t p = part % pieces;
    const RowShard row = RowOf(batch, logits, shard, i);
    const int end = static_cast<int>(kDigitValues * (p + 1) / pieces);
    for (int run = static_cast<int>(kDigitValues * p / pieces); run < end; ++run) {
      shard.sums[i * kDigitValues + run] = KeptWeightOfRun(row, run, kernels_);
    }
  });
  for (int64_t i = 0; i < rows; ++i) {
    const uint64_t* const sums = shard.sums + i * kDigitValues;
    shard.kept[i] = std::accumulate(sums, sums + kDigitValues, uint64_t{0});
  }
}

void CpuSampling::DrawTokens(const SamplingBatch& batch, Tensor logits,
                             const SampleShard& shard) const {
  // Looks at the sums of the runs, and at the tokens of one run.
  ForEachRow(batch.num_logit_rows, kDigitValues + logits.cols / kDigitValues,
             [&](int64_t i) { DrawRow(batch, logits, shard, i, kernels_); });
}

void CpuSampling::TakeTokens(int64_t rows, const uint64_t* drawn, int32_t* tokens) const {
  for (int64_t i = 0; i < rows; ++i) tokens[i] = static_cast<int32_t>(drawn[i]) - 1;
}

void CpuSampling::LogProbTerms(Tensor logits, int64_t first_id, const int32_t* targets,
                               const uint64_t* maxima, uint64_t* terms) const {
  std::fill_n(terms, logits.rows * kLogProbTerms, 0);
  ForEachPiece(logits.rows, logits.cols, [&](int64_t row, int64_t begin, int64_t end) {
    const auto of_piece = LogProbTermsOf(Columns(logits, row, begin, end), first_id + begin,
                                         targets[row], maxima[row], kernels_);
    for (int t = 0; t < kLogProbTerms; ++t) AddTo(terms[row * kLogProbTerms + t], of_piece[t]);
  });
}

void CpuSampling::CombineLogProbs(int64_t rows, const uint64_t* maxima, const uint64_t* terms,
                                  float* log_probs) const {
  for (int64_t i = 0; i < rows; ++i) {
    log_probs[i] = CombinedLogProb(maxima[i], terms + i * kLogProbTerms);
  }
}

void CpuSampling::TopLogits(Tensor logits, int64_t first_id, int count, uint64_t* words) const {
  ForEachRow(logits.rows, logits.cols, [&](int64_t i) {
    TopLogitsOf(Columns(logits, i, 0, logits.cols), first_id,
                {words + i * count, static_cast<size_t>(count)}, kernels_);
  });
}

bool CpuSampling::GivesOutRows(int64_t rows) const {
  return rows > 1 &&
         (team_.num_threads() == 1 || rows >= kWholeRowsPerThread * team_.num_threads());
}

template <typename Function>
void CpuSampling::ForEachRowAlone(int64_t rows, Function row) const {
  team_.ParallelFor(rows, 1, [&](int64_t begin, int64_t end) {
    ThreadTeam this_thread(1);
    const CpuSampling alone(&this_thread, kernels_);
    for (int64_t i = begin; i < end; ++i) row(i, alone);
  });
}

template <typename Function>
void CpuSampling::ForEachRow(int64_t rows, int64_t row_cost, Function row) const {
  const int64_t grain = rows * row_cost < kLeastPiece ? std::max<int64_t>(rows, 1) : 1;
  team_.ParallelFor(rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) row(i);
  });
}

int64_t CpuSampling::PiecesPerRow(int64_t rows, int64_t cols) const {
  // Pieces are for several threads to share.
  if (team_.num_threads() == 1) return 1;
  const int64_t wanted = (team_.num_threads() * kPiecesPerThread + rows - 1) / rows;
  return std::clamp<int64_t>(cols / kLeastPiece, 1, wanted);
}

template <typename Function>
void CpuSampling::ForEachPiece(int64_t rows, int64_t cols, Function piece) const {
  if (rows == 0) return;
  const int64_t pieces = PiecesPerRow(rows, cols);
  team_.Run(static_cast<uint32_t>(rows * pieces), [&](uint32_t part) {
    const int64_t p = part % pieces;
    piece(part / pieces, cols * p / pieces, cols * (p + 1) / pieces);
  });
}

}  // namespace phalanx::kernels
