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

// What of a row top_k keeps if a cut by top_p follows; null if that is all.
const SampleCut* CutBeforeTopP(const RowShard& row) {
  return HasCut(row, CutKind::kTopK) ? &CutOf(row, CutKind::kTopK) : nullptr;
}
// What of a row top_k and top_p keep together; null if that is all. A cut by top_p keeps only what
// top_k has kept.
const SampleCut* CutByLogit(const RowShard& row) {
  return HasCut(row, CutKind::kTopP) ? &CutOf(row, CutKind::kTopP) : CutBeforeTopP(row);
}

Weights WeightsOf(const RowShard& row) {
  return Weights(HighestLogit(row.maximum), row.sampling.temperature);
}

// Calls f(logits, n) for those of the logits [begin, end) whose keys are in `keys`, at most
// kLogitBlock at a time.
template <typename Function>
void ForEachInRange(const RowShard& row, int64_t begin, int64_t end, KeyRange keys,
                    const LogitKernels& kernels, Function f) {
  const bool all = keys.least == 0 && keys.most == ~uint32_t{0};
  std::array<float, kLogitBlock> selected;
  for (; begin < end; begin += kLogitBlock) {
    const float* const block = row.logits.data() + begin;
    const int64_t size = std::min(end - begin, kLogitBlock);
    if (all) {
      f(block, size);
    } else if (const int64_t n = kernels.select(block, size, keys, selected.data()); n > 0) {
      f(selected.data(), n);
    }
  }
}

// As ForEachInRange, without those that `cut` drops; it may be null.
template <typename Function>
void ForEachKept(const RowShard& row, int64_t begin, int64_t end, KeyRange keys,
                 const SampleCut* cut, const LogitKernels& kernels, Function f) {
  if (cut == nullptr) return ForEachInRange(row, begin, end, keys, kernels, f);
  // Of the logits with just the key of the cut, those up to its last id are kept.
  const int64_t border = std::clamp(cut->last_id + int64_t{1} - row.first_id, begin, end);
  keys.least = std::max(keys.least, cut->key);
  ForEachInRange(row, begin, border, keys, kernels, f);
  keys.least = std::max(keys.least, cut->key + 1);
  ForEachInRange(row, border, end, keys, kernels, f);
}

// Calls f(column, weight) for those of the logits [begin, end) that weigh something after top_k,
// top_p and min_p, in order, until it returns false.
template <typename Function>
void ForEachWeight(const RowShard& row, int64_t begin, int64_t end, const LogitKernels& kernels,
                   Function f) {
  const SampleCut* const cut = CutByLogit(row);
  const uint64_t least = std::max<uint64_t>(LeastWeight(row.sampling.min_p), 1);
  const Weights weights = WeightsOf(row);
  std::array<uint64_t, kLogitBlock> of_block;
  for (; begin < end; begin += kLogitBlock) {
    const int64_t n = std::min(end - begin, kLogitBlock);
    kernels.weights(weights, row.logits.data() + begin, n, of_block.data());
    for (int64_t i = 0; i < n; ++i) {
      if (of_block[i] < least) continue;
      const int64_t column = begin + i;
      const bool kept =
          cut == nullptr || Keeps(*cut, RankKey(row.logits[column]), row.first_id + column);
      if (kept && !f(column, of_block[i])) return;
    }
  }
}

// What typical_p looks at in a row.
class TypicalTokens {
 public:
  explicit TypicalTokens(const RowShard& row)
      : row_(row),
        weights_(WeightsOf(row)),
        mean_(MeanFall(row.typical_sums[0], row.typical_sums[1])) {}

  uint32_t Key(int64_t column) const {
    return TypicalKey(weights_.Fall(row_.logits[column]), mean_);
  }
  // Whether the cut, which is complete, keeps the token.
  bool Keeps(int64_t column) const {
    return kernels::Keeps(CutOf(row_, CutKind::kTypical), Key(column), row_.first_id + column);
  }

 private:
  const RowShard& row_;
  const Weights weights_;
  const double mean_;
};

// As ForEachWeight, for what is left after all cuts.
template <typename Function>
void ForEachKeptWeight(const RowShard& row, int64_t begin, int64_t end, const LogitKernels& kernels,
                       Function f) {
  if (!HasCut(row, CutKind::kTypical)) return ForEachWeight(row, begin, end, kernels, f);
  const TypicalTokens typical(row);
  ForEachWeight(row, begin, end, kernels, [&](int64_t column, uint64_t weight) {
    return !typical.Keeps(column) || f(column, weight);
  });
}

// The last token of this rank of just the key of the cut by typical_p that is kept, where these
// must sum to `left`. Unlike those of the other cuts they may weigh differently.
int32_t LastOfTypicalTies(const RowShard& row, uint32_t key, uint64_t left,
                          const LogitKernels& kernels) {
  int64_t last_id = -1;
  const TypicalTokens typical(row);
  ForEachWeight(row, 0, static_cast<int64_t>(row.logits.size()), kernels,
                [&](int64_t column, uint64_t weight) {
                  if (typical.Key(column) != key) return true;
                  last_id = row.first_id + column;
                  left -= std::min(left, weight);
                  return left > 0;
                });
  return static_cast<int32_t>(last_id);
}

// A range of rank keys that has all tokens which min_p keeps, and maybe some more.
KeyRange KeysOfMinP(const RowShard& row) {
  const float min_p = row.sampling.min_p;
  if (!(min_p > 0.0f)) return {};
  // Weights are exact to 2^-36, and logits of equal weights are closer than this.
  const double fall = (0.001 - std::log(static_cast<double>(min_p))) * row.sampling.temperature;
  const auto least = static_cast<float>(HighestLogit(row.maximum) - fall);
  return {RankKey(std::nextafter(least, -std::numeric_limits<float>::infinity()))};
}

// The last of this rank's tokens of just the key of the cut that is kept, where some of them are
// and some are not: they must sum to `left`.
int32_t LastOfTies(const RowShard& row, CutKind kind, uint32_t key, uint64_t left,
                   const LogitKernels& kernels) {
  if (kind == CutKind::kTypical) return LastOfTypicalTies(row, key, left, kernels);
  const SampleCut* const before = kind == CutKind::kTopP ? CutBeforeTopP(row) : nullptr;
  // Equal logits weigh the same.
  const uint64_t measure = kind == CutKind::kTopK ? 1 : WeightsOf(row)(LogitOfKey(key));
  int64_t last_id = -1;
  const auto size = static_cast<int64_t>(row.logits.size());
  std::array<float, kLogitBlock> ties;
  for (int64_t begin = 0; begin < size && left > 0; begin += kLogitBlock) {
    const int64_t end = std::min(size, begin + kLogitBlock);
    const float* const block = row.logits.data() + begin;
    if (kernels.select(block, end - begin, {key, key}, ties.data()) == 0) continue;
    for (int64_t i = begin; i < end && left > 0; ++i) {
      if (RankKey(row.logits[i]) != key) continue;
      last_id = row.first_id + i;
      if (before == nullptr || Keeps(*before, key, last_id)) left -= std::min(left, measure);
    }
  }
  return static_cast<int32_t>(last_id);
}

// The first logit from `begin` on at which the running sum of what tokens weigh after all cuts is
// above `target`. There is one.
int64_t ColumnOf(const RowShard& row, int64_t begin, uint64_t target, const LogitKernels& kernels) {
  const auto size = static_cast<int64_t>(row.logits.size());
  int64_t found = size;
  ForEachKeptWeight(row, begin, size, kernels, [&](int64_t column, uint64_t weight) {
    if (weight > target) {
      found = column;
      return false;
    }
    target -= weight;
    return true;
  });
  return found;
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
  batch->wants_typical_p = wants_cut(CutKind::kTypical);
  batch->wants_adjustment = std::any_of(rows.begin(), rows.end(), [](const SamplingRow& row) {
    return row.edits_begin != row.edits_end || row.mask_begin != kNoMask;
  });
  batch->log_probs = kNoLogProbs;
  for (const SamplingRow& row : rows) batch->log_probs = std::max(batch->log_probs, row.log_probs);
}

RowShard RowOf(const SamplingBatch& batch, Tensor logits, const SampleShard& shard, int64_t i) {
  return {.logits = {logits.f32() + i * logits.cols, static_cast<size_t>(logits.cols)},
          .first_id = shard.first_id,
          .vocab = shard.vocab,
          .sampling = batch.sampling[i],
          .maximum = shard.maxima[i],
          .cuts = shard.cuts + kCutKinds * i,
          .typical_sums = shard.typical_sums + kTypicalSums * i};
}

uint64_t MaximumOf(absl::Span<const float> logits, int64_t first_id, const LogitKernels& kernels) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  float max = -kInfinity;
  int64_t block = 0;  // Where the first block with this maximum begins.
  bool has_nan = false;
  const auto size = static_cast<int64_t>(logits.size());
  for (int64_t begin = 0; begin < size; begin += kLogitBlock) {
    const float highest =
        kernels.highest(logits.data() + begin, std::min(size - begin, kLogitBlock), &has_nan);
    if (highest > max) {
      max = highest;
      block = begin;
    }
  }
  if (has_nan || max == kInfinity) return ~uint64_t{0};
  if (max == -kInfinity) return 0;
  const auto* const best = std::find(logits.begin() + block, logits.end(), max);
  return MaximumWord(max, first_id + (best - logits.begin()));
}

bool IsDrawn(const RowShard& row) { return WantsDraw(row.sampling) && HasToken(row.maximum); }

bool HasCut(const RowShard& row, CutKind kind) {
  return WantsCut(row.sampling, row.vocab, kind) && HasToken(row.maximum);
}

void AddCutSums(const RowShard& row, int64_t begin, int64_t end, CutKind kind, int digit,
                uint64_t* sums, const LogitKernels& kernels) {
  const uint32_t known = digit == 0 ? 0 : CutOf(row, kind).key;
  const KeyRange keys = {known, known | ~DigitsAbove(digit)};
  const int shift = ShiftOfDigit(digit);
  // Neighbours often have the same digit. Four sums for each, since a sum in memory must be written
  // before the next term can be added.
  constexpr int kCopies = 4;
  std::array<uint64_t, kCopies* kDigitValues> copies = {};
  std::array<uint32_t, kLogitBlock> keys_of_block;
  const auto sum_of = [&](int64_t i) -> uint64_t& {
    const uint32_t value = keys_of_block[i] >> shift & (kDigitValues - 1);
    return copies[i % kCopies * kDigitValues + value];
  };
  if (kind == CutKind::kTopK) {
    ForEachInRange(row, begin, end, keys, kernels, [&](const float* logits, int64_t n) {
      kernels.keys(logits, n, keys_of_block.data());
      for (int64_t i = 0; i < n; ++i) ++sum_of(i);
    });
  } else if (kind == CutKind::kTypical) {
    const TypicalTokens typical(row);
    ForEachWeight(row, begin, end, kernels, [&](int64_t column, uint64_t weight) {
      const uint32_t key = typical.Key(column);
      if (key >= keys.least && key <= keys.most) {
        copies[key >> shift & (kDigitValues - 1)] += weight;
      }
      return true;
    });
  } else {
    const Weights weights = WeightsOf(row);
    std::array<uint64_t, kLogitBlock> of_block;
    ForEachKept(row, begin, end, keys, CutBeforeTopP(row), kernels,
                [&](const float* logits, int64_t n) {
                  kernels.weights(weights, logits, n, of_block.data());
                  kernels.keys(logits, n, keys_of_block.data());
                  for (int64_t i = 0; i < n; ++i) sum_of(i) += of_block[i];
                });
  }
  for (int i = 0; i < kCopies * kDigitValues; ++i) sums[i % kDigitValues] += copies[i];
}

void AddTypicalSums(const RowShard& row, int64_t begin, int64_t end, uint64_t* sums,
                    const LogitKernels& kernels) {
  const Weights weights = WeightsOf(row);
  ForEachWeight(row, begin, end, kernels, [&](int64_t column, uint64_t weight) {
    sums[0] += weight;
    sums[1] += WeightedFall(weight, weights.Fall(row.logits[column]));
    return true;
  });
}

void NarrowRow(const SamplingBatch& batch, Tensor logits, const SampleShard& shard, int64_t i,
               CutKind kind, int digit, const LogitKernels& kernels) {
  const RowShard row = RowOf(batch, logits, shard, i);
  if (!HasCut(row, kind)) return;
  SampleCut& cut = shard.cuts[kCutKinds * i + static_cast<int>(kind)];
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
    cut.last_id = LastOfTies(row, kind, cut.key, cut.left, kernels);
  }
}

uint64_t KeptWeightOfRun(const RowShard& row, int run, const LogitKernels& kernels) {
  if (!IsDrawn(row)) return 0;
  const auto size = static_cast<int64_t>(row.logits.size());
  // The last runs may have no logits.
  const int64_t begin = std::min(size, run * RunLength(size));
  const int64_t end = std::min(size, begin + RunLength(size));
  uint64_t sum = 0;
  if (HasCut(row, CutKind::kTypical)) {
    ForEachKeptWeight(row, begin, end, kernels, [&](int64_t, uint64_t weight) {
      sum += weight;
      return true;
    });
    return sum;
  }
  const Weights weights = WeightsOf(row);
  const uint64_t least = LeastWeight(row.sampling.min_p);
  std::array<uint64_t, kLogitBlock> of_block;
  ForEachKept(row, begin, end, KeysOfMinP(row), CutByLogit(row), kernels,
              [&](const float* logits, int64_t n) {
                const uint64_t all = kernels.weights(weights, logits, n, of_block.data());
                if (least == 0) {
                  sum += all;
                  return;
                }
                for (int64_t i = 0; i < n; ++i) sum += of_block[i] >= least ? of_block[i] : 0;
              });
  return sum;
}

void DrawRow(const SamplingBatch& batch, Tensor logits, const SampleShard& shard, int64_t i,
             const LogitKernels& kernels) {
  const RowShard row = RowOf(batch, logits, shard, i);
  uint64_t& drawn = shard.drawn[i];
  drawn = 0;
  if (!HasToken(row.maximum)) return;
  if (!IsDrawn(row)) {
    drawn = static_cast<uint64_t>(TokenWithoutDraw(row.sampling, row.maximum)) + 1;
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
  const int64_t column =
      ColumnOf(row, run * RunLength(static_cast<int64_t>(row.logits.size())), target, kernels);
  drawn = static_cast<uint64_t>(row.first_id + column) + 1;
}

}  // namespace phalanx::kernels
