#include "kernels/sampling/sharded_sample.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/sampling/cut.h"
#include "kernels/sampling/weight.h"

namespace phalanx::kernels {
namespace {

const SampleCut& CutOf(const RowShard& row, CutKind kind) {
  return row.cuts[static_cast<int>(kind)];
}

// Calls f(keeps), with a function keeps(key, id) that tells whether top_k keeps a token. Two calls
// are compiled, so that rows without top_k compare nothing.
template <typename Function>
void WithTopK(const RowShard& row, Function f) {
  if (HasCut(row, CutKind::kTopK)) {
    const SampleCut cut = CutOf(row, CutKind::kTopK);
    f([cut](uint32_t key, int64_t id) { return Keeps(cut, key, id); });
  } else {
    f([](uint32_t, int64_t) { return true; });
  }
}

// Calls f(measure), with what the cut counts for a token: measure(logit, key, id).
template <typename Function>
void WithMeasure(const RowShard& row, CutKind kind, Function f) {
  if (kind == CutKind::kTopK) {
    f([](float, uint32_t, int64_t) { return uint64_t{1}; });
    return;
  }
  const Weights weights(HighestLogit(row.maximum), row.sampling.temperature);
  WithTopK(row, [&](auto keeps) {
    f([&](float logit, uint32_t key, int64_t id) {
      return keeps(key, id) ? weights(logit) : uint64_t{0};
    });
  });
}

// The last of this rank's tokens of just the key of the cut that is kept, where some of them are
// and some are not: they must sum to `left`.
int32_t LastOfTies(const RowShard& row, CutKind kind, uint32_t key, uint64_t left) {
  int64_t last_id = -1;
  WithMeasure(row, kind, [&](auto measure) {
    for (size_t i = 0; i < row.logits.size() && left > 0; ++i) {
      if (RankKey(row.logits[i]) != key) continue;
      last_id = row.first_id + static_cast<int64_t>(i);
      left -= std::min(left, measure(row.logits[i], key, last_id));
    }
  });
  return static_cast<int32_t>(last_id);
}

// Calls f(weight), with the weight that a token has left after all cuts: weight(i).
template <typename Function>
void WithKeptWeights(const RowShard& row, Function f) {
  const Weights weights(HighestLogit(row.maximum), row.sampling.temperature);
  const bool by_p = HasCut(row, CutKind::kTopP);
  const bool by_k = HasCut(row, CutKind::kTopK);
  if (!by_p && !by_k) {
    f([&](int64_t i) { return weights(row.logits[i]); });
    return;
  }
  // top_p keeps only what top_k has kept.
  const SampleCut cut = CutOf(row, by_p ? CutKind::kTopP : CutKind::kTopK);
  f([&](int64_t i) {
    const float logit = row.logits[i];
    return Keeps(cut, RankKey(logit), row.first_id + i) ? weights(logit) : uint64_t{0};
  });
}

}  // namespace

void NoteWants(absl::Span<const SamplingRow> rows, int64_t vocab, SamplingBatch* batch) {
  const auto wants_cut = [&](CutKind kind) {
    return std::any_of(rows.begin(), rows.end(),
                       [&](const SamplingRow& row) { return WantsCut(row, vocab, kind); });
  };
  batch->wants_draw = std::any_of(rows.begin(), rows.end(), WantsDraw);
  batch->wants_top_k = wants_cut(CutKind::kTopK);
  batch->wants_top_p = wants_cut(CutKind::kTopP);
}

RowShard RowOf(const SamplingBatch& batch, Tensor logits, const SampleShard& shard, int64_t i) {
  return {.logits = {logits.f32() + i * logits.cols, static_cast<size_t>(logits.cols)},
          .first_id = shard.first_id,
          .vocab = shard.vocab,
          .sampling = batch.sampling[i],
          .maximum = shard.maxima[i],
          .cuts = shard.cuts + 2 * i};
}

uint64_t MaximumOf(absl::Span<const float> logits, int64_t first_id) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  float max = -kInfinity;
  size_t best = 0;
  bool has_nan = false;
  for (size_t i = 0; i < logits.size(); ++i) {
    has_nan |= std::isnan(logits[i]);
    if (logits[i] > max) {
      max = logits[i];
      best = i;
    }
  }
  if (has_nan || max == kInfinity) return ~uint64_t{0};
  if (max == -kInfinity) return 0;
  return MaximumWord(max, first_id + static_cast<int64_t>(best));
}

bool IsDrawn(const RowShard& row) { return WantsDraw(row.sampling) && HasToken(row.maximum); }

bool HasCut(const RowShard& row, CutKind kind) {
  return WantsCut(row.sampling, row.vocab, kind) && HasToken(row.maximum);
}

void AddCutSums(const RowShard& row, int64_t begin, int64_t end, CutKind kind, int digit,
                uint64_t* sums) {
  const uint32_t above = DigitsAbove(digit);
  const uint32_t known = digit == 0 ? 0 : CutOf(row, kind).key;
  const int shift = ShiftOfDigit(digit);
  WithMeasure(row, kind, [&](auto measure) {
    for (int64_t i = begin; i < end; ++i) {
      const uint32_t key = RankKey(row.logits[i]);
      if ((key & above) != known) continue;
      sums[key >> shift & (kDigitValues - 1)] += measure(row.logits[i], key, row.first_id + i);
    }
  });
}

void NarrowRow(const SamplingBatch& batch, Tensor logits, const SampleShard& shard, int64_t i,
               CutKind kind, int digit) {
  const RowShard row = RowOf(batch, logits, shard, i);
  if (!HasCut(row, kind)) return;
  SampleCut& cut = shard.cuts[2 * i + static_cast<int>(kind)];
  const bool last = digit == kCutDigits - 1;
  if (!last) {
    FindDigit(row.sampling, kind, digit, shard.sums + i * kDigitValues, &cut);
    return;
  }
  const auto of_rank = [&](int rank) {
    return shard.sums_of_ranks + (rank * batch.num_logit_rows + i) * kDigitValues;
  };
  std::array<uint64_t, kDigitValues> of_all = {};
  for (int rank = 0; rank < shard.world; ++rank) {
    for (int value = 0; value < kDigitValues; ++value) of_all[value] += of_rank(rank)[value];
  }
  const uint32_t value = FindDigit(row.sampling, kind, digit, of_all.data(), &cut);
  // Of the tokens with just this key, those with the lowest ids are kept, so those of the ranks
  // before this one come first.
  for (int rank = 0; rank < shard.rank; ++rank) {
    cut.left -= std::min(cut.left, of_rank(rank)[value]);
  }
  if (cut.left == 0) {
    cut.last_id = -1;
  } else if (of_rank(shard.rank)[value] <= cut.left) {
    cut.last_id = std::numeric_limits<int32_t>::max();
  } else {
    cut.last_id = LastOfTies(row, kind, cut.key, cut.left);
  }
}

uint64_t KeptWeightOfRun(const RowShard& row, int run) {
  if (!IsDrawn(row)) return 0;
  const auto size = static_cast<int64_t>(row.logits.size());
  const int64_t end = std::min(size, (run + 1) * RunLength(size));
  uint64_t sum = 0;
  WithKeptWeights(row, [&](auto weight) {
    for (int64_t i = run * RunLength(size); i < end; ++i) sum += weight(i);
  });
  return sum;
}

void DrawRow(const SamplingBatch& batch, Tensor logits, const SampleShard& shard, int64_t i) {
  const RowShard row = RowOf(batch, logits, shard, i);
  uint64_t& drawn = shard.drawn[i];
  drawn = 0;
  if (!HasToken(row.maximum)) return;
  if (!IsDrawn(row)) {
    drawn = uint64_t{static_cast<uint32_t>(~row.maximum)} + 1;
    return;
  }
  const auto kept = [&](int rank) {
    return shard.kept_of_ranks[rank * int64_t{batch.num_logit_rows} + i];
  };
  uint64_t sum = 0;
  for (int rank = 0; rank < shard.world; ++rank) sum += kept(rank);
  uint64_t target = DrawTarget(row.sampling, sum);
  for (int rank = 0; rank < shard.rank; ++rank) {
    if (target < kept(rank)) return;
    target -= kept(rank);
  }
  if (target >= kept(shard.rank)) return;
  // The draw falls into this rank's part.
  const uint64_t* const run_sums = shard.sums + i * kDigitValues;
  int run = 0;
  while (run_sums[run] <= target) target -= run_sums[run++];
  int64_t column = run * RunLength(static_cast<int64_t>(row.logits.size()));
  WithKeptWeights(row, [&](auto weight) {
    for (uint64_t w; (w = weight(column)) <= target; ++column) target -= w;
  });
  drawn = static_cast<uint64_t>(row.first_id + column) + 1;
}

}  // namespace phalanx::kernels
