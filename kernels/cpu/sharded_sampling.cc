#include "kernels/cpu/sharded_sampling.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <numeric>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "kernels/sampling/log_prob.h"
#include "kernels/sampling/sharded_sample.h"

namespace phalanx::kernels {
namespace {

// A piece of fewer logits takes less time than another thread takes to begin.
constexpr int64_t kLeastPiece = 8192;
// Pieces for each thread: some, so that threads that are late find less to do.
constexpr int64_t kPiecesPerThread = 4;

void AddTo(uint64_t& sum, uint64_t value) {
  if (value != 0) std::atomic_ref<uint64_t>(sum).fetch_add(value, std::memory_order_relaxed);
}

void RaiseTo(uint64_t& maximum, uint64_t value) {
  const std::atomic_ref<uint64_t> shared(maximum);
  uint64_t seen = shared.load(std::memory_order_relaxed);
  while (seen < value && !shared.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

// Into how many pieces to cut each of `rows` rows of `cols` logits.
int64_t PiecesPerRow(const ThreadTeam& team, int64_t rows, int64_t cols) {
  const int64_t wanted = (team.num_threads() * kPiecesPerThread + rows - 1) / rows;
  return std::clamp<int64_t>(cols / kLeastPiece, 1, wanted);
}

// Calls piece(row, begin, end) for pieces [begin, end) that cover [0, cols) of each of `rows` rows,
// on any thread.
void ForEachPiece(ThreadTeam& team, int64_t rows, int64_t cols,
                  absl::FunctionRef<void(int64_t row, int64_t begin, int64_t end)> piece) {
  if (rows == 0) return;
  const int64_t pieces = PiecesPerRow(team, rows, cols);
  team.Run(static_cast<uint32_t>(rows * pieces), [&](uint32_t part) {
    const int64_t p = part % pieces;
    piece(part / pieces, cols * p / pieces, cols * (p + 1) / pieces);
  });
}

absl::Span<const float> Columns(Tensor logits, int64_t row, int64_t begin, int64_t end) {
  return {logits.f32() + row * logits.cols + begin, static_cast<size_t>(end - begin)};
}

}  // namespace

void RowMaximaOnCpu(ThreadTeam& team, Tensor logits, int64_t first_id, uint64_t* maxima) {
  std::fill_n(maxima, logits.rows, 0);
  ForEachPiece(team, logits.rows, logits.cols, [&](int64_t row, int64_t begin, int64_t end) {
    RaiseTo(maxima[row], MaximumOf(Columns(logits, row, begin, end), first_id + begin));
  });
}

void CutSumsOnCpu(ThreadTeam& team, const SamplingBatch& batch, Tensor logits,
                  const SampleShard& shard, CutKind kind, int digit) {
  const int64_t rows = batch.num_logit_rows;
  std::fill_n(shard.sums, rows * kDigitValues, 0);
  ForEachPiece(team, rows, logits.cols, [&](int64_t i, int64_t begin, int64_t end) {
    const RowShard row = RowOf(batch, logits, shard, i);
    if (!HasCut(row, kind)) return;
    std::array<uint64_t, kDigitValues> sums = {};
    AddCutSums(row, begin, end, kind, digit, sums.data());
    uint64_t* const of_row = shard.sums + i * kDigitValues;
    for (int value = 0; value < kDigitValues; ++value) AddTo(of_row[value], sums[value]);
  });
}

void KeptWeightsOnCpu(ThreadTeam& team, const SamplingBatch& batch, Tensor logits,
                      const SampleShard& shard) {
  const int64_t rows = batch.num_logit_rows;
  if (rows == 0) return;
  // A piece is some of the runs of a row.
  const int64_t pieces = std::min<int64_t>(PiecesPerRow(team, rows, logits.cols), kDigitValues);
  team.Run(static_cast<uint32_t>(rows * pieces), [&](uint32_t part) {
    const int64_t i = part / pieces;
    const int64_t p = part % pieces;
    const RowShard row = RowOf(batch, logits, shard, i);
    const int end = static_cast<int>(kDigitValues * (p + 1) / pieces);
    for (int run = static_cast<int>(kDigitValues * p / pieces); run < end; ++run) {
      shard.sums[i * kDigitValues + run] = KeptWeightOfRun(row, run);
    }
  });
  for (int64_t i = 0; i < rows; ++i) {
    const uint64_t* const sums = shard.sums + i * kDigitValues;
    shard.kept[i] = std::accumulate(sums, sums + kDigitValues, uint64_t{0});
  }
}

void LogProbTermsOnCpu(ThreadTeam& team, Tensor logits, int64_t first_id, const int32_t* targets,
                       const uint64_t* maxima, uint64_t* terms) {
  std::fill_n(terms, logits.rows * kLogProbTerms, 0);
  ForEachPiece(team, logits.rows, logits.cols, [&](int64_t row, int64_t begin, int64_t end) {
    const auto of_piece = LogProbTermsOf(Columns(logits, row, begin, end), first_id + begin,
                                         targets[row], maxima[row]);
    for (int t = 0; t < kLogProbTerms; ++t) AddTo(terms[row * kLogProbTerms + t], of_piece[t]);
  });
}

}  // namespace phalanx::kernels
