#include "kernels/sampling/sample.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "kernels/sampling/weight.h"

namespace phalanx::kernels {
namespace {

// The last token in rank that is kept; by default, the last of all.
struct Cut {
  uint32_t key = 0;
  size_t id = std::numeric_limits<size_t>::max();

  // `k` is the key of token `i`.
  bool Keeps(uint32_t k, size_t i) const { return k > key || (k == key && i <= id); }
};

// The cut that keeps the fewest of `size` tokens, in the order of `key_of(i)`, highest first, whose
// measures sum to need(sum of all) or more, and at least one. `measure(i)` is 0 for tokens that an
// earlier cut has dropped. Instead of sorting a whole vocabulary, three passes find the key of the
// last token that is kept, 11, 11 and 10 bits at a time from the top: each sums the measures of the
// tokens that agree with the bits found so far by their next bits, and walks these sums from the
// highest down.
template <typename KeyOf, typename Need, typename Measure>
Cut CutAt(size_t size, KeyOf key_of, Need need, Measure measure) {
  Cut cut;
  uint32_t known = 0;  // A mask of the bits of cut.key that have been found.
  uint64_t left = 0;   // What the tokens that agree with cut.key in these bits must still sum to.
  for (int shift : {21, 10, 0}) {
    std::array<uint64_t, 1 << 11> histogram = {};
    for (size_t i = 0; i < size; ++i) {
      const uint32_t key = key_of(i);
      if ((key & known) == cut.key) histogram[(key & ~known) >> shift] += measure(i);
    }
    if (known == 0) left = need(std::accumulate(histogram.begin(), histogram.end(), uint64_t{0}));
    uint32_t digit = ~known >> shift;
    while (digit > 0 && histogram[digit] < left) left -= histogram[digit--];
    cut.key |= digit << shift;
    known = ~uint32_t{0} << shift;
  }
  // Of the tokens with just this key, those with the lowest ids are kept.
  for (size_t i = 0; i < size && left > 0; ++i) {
    if (key_of(i) != cut.key) continue;
    const uint64_t m = measure(i);
    cut.id = i;
    left = m < left ? left - m : 0;
  }
  return cut;
}

// The first token in rank; nothing if the row has none.
std::optional<size_t> MostLikely(absl::Span<const float> logits) {
  size_t best = 0;
  float max = -std::numeric_limits<float>::infinity();
  bool has_nan = false;
  for (size_t i = 0; i < logits.size(); ++i) {
    has_nan |= std::isnan(logits[i]);
    if (logits[i] > max) {
      max = logits[i];
      best = i;
    }
  }
  if (has_nan || !std::isfinite(max)) return std::nullopt;
  return best;
}

// The first i in [0, size) at which the running sum of weight(i) is above the target of the draw.
// The sum of all is not 0. Tokens are taken in at most 512 runs: the first pass keeps the sum of
// each run, so that afterwards only the weights of the run that the draw falls into have to be
// computed again.
template <typename Weight>
size_t Draw(size_t size, const SamplingRow& row, Weight weight) {
  constexpr size_t kRuns = 512;
  const size_t run_size = (size + kRuns - 1) / kRuns;
  std::array<uint64_t, kRuns> run_sums = {};
  uint64_t sum = 0;
  for (size_t run = 0; run * run_size < size; ++run) {
    const size_t end = std::min(size, (run + 1) * run_size);
    for (size_t i = run * run_size; i < end; ++i) run_sums[run] += weight(i);
    sum += run_sums[run];
  }
  uint64_t target = DrawTarget(row, sum);
  size_t run = 0;
  while (run_sums[run] <= target) target -= run_sums[run++];
  size_t i = run * run_size;
  for (uint64_t w; (w = weight(i)) <= target; ++i) target -= w;
  return i;
}

}  // namespace

int32_t SampleToken(absl::Span<const float> logits, const SamplingRow& row) {
  const std::optional<size_t> best = MostLikely(logits);
  if (!best.has_value()) return kNoToken;
  if (row.forced >= 0) return row.forced;
  if (!(row.temperature > 0.0f)) return static_cast<int32_t>(*best);
  // The steps below are those of the definition in sample.h.
  const size_t size = logits.size();
  const auto rank_key = [&](size_t i) { return RankKey(logits[i]); };
  Cut kept;
  const bool cut_by_k = CutsByTopK(row, static_cast<int64_t>(size));
  if (cut_by_k) {
    kept = CutAt(
        size, rank_key, [&](uint64_t) { return static_cast<uint64_t>(row.top_k); },
        [](size_t) { return uint64_t{1}; });
  }
  const Weights weight_of(logits[*best], row.temperature);
  const auto weight = [&](size_t i) { return weight_of(logits[i]); };
  const auto kept_weight = [&](size_t i) { return kept.Keeps(rank_key(i), i) ? weight(i) : 0; };
  const bool cut_by_p = CutsByTopP(row);
  if (cut_by_p) {
    kept = CutAt(
        size, rank_key, [&](uint64_t sum) { return WeightNeeded(row.top_p, sum); }, kept_weight);
  }
  const uint64_t least = LeastWeight(row.min_p);
  const auto weight_after_min_p = [&](size_t i) {
    const uint64_t w = kept_weight(i);
    return w >= least ? w : 0;
  };
  if (CutsByTypicalP(row)) {
    uint64_t weights = 0;
    uint64_t weighted_falls = 0;
    for (size_t i = 0; i < size; ++i) {
      const uint64_t w = weight_after_min_p(i);
      weights += w;
      if (w > 0) weighted_falls += WeightedFall(w, weight_of.Fall(logits[i]));
    }
    const double mean = MeanFall(weights, weighted_falls);
    const auto typical_key = [&](size_t i) { return TypicalKey(weight_of.Fall(logits[i]), mean); };
    const Cut typical = CutAt(
        size, typical_key, [&](uint64_t sum) { return WeightNeeded(row.typical_p, sum); },
        weight_after_min_p);
    return static_cast<int32_t>(Draw(size, row, [&](size_t i) {
      const uint64_t w = weight_after_min_p(i);
      return w > 0 && typical.Keeps(typical_key(i), i) ? w : 0;
    }));
  }
  if (least > 0) return static_cast<int32_t>(Draw(size, row, weight_after_min_p));
  // Without a cut, tokens need not be compared with it.
  return static_cast<int32_t>(cut_by_k || cut_by_p ? Draw(size, row, kept_weight)
                                                   : Draw(size, row, weight));
}

}  // namespace phalanx::kernels
