#include "kernels/sampling/sample.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "kernels/sampling/philox.h"

namespace phalanx::kernels {
namespace {

// A weight is at most 2^44, so the sum over 2^19 tokens, the most that a row may have, still fits
// 64 bits.
constexpr int kWeightBits = 44;
// If x is not above this, exp(x) * 2^44 is below 1.
constexpr double kLeastExponent = -30.6;

// floor(exp(x) * 2^44) for x <= 0: x = n ln 2 + r with |r| <= ln 2 / 2, then a Taylor polynomial of
// exp(r), even and odd terms apart, whose remainder is below 2^-36. It is written out here, and not
// left to the C library, because libraries differ in the last bit, and tokens would with them.
uint64_t ExpWeight(double x) {
  if (!(x > kLeastExponent)) return 0;
  constexpr double kLog2E = 1.4426950408889634;
  constexpr double kLn2High = 0x1.62e42fee00000p-1;  // Few bits: its product with n is exact.
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  const int n = static_cast<int>(x * kLog2E - 0.5);
  const double r = (x - n * kLn2High) - n * kLn2Low;
  const double r2 = r * r;
  const double even = (((r2 * (1.0 / 40320) + 1.0 / 720) * r2 + 1.0 / 24) * r2 + 0.5) * r2 + 1.0;
  const double odd =
      (((r2 * (1.0 / 362880) + 1.0 / 5040) * r2 + 1.0 / 120) * r2 + 1.0 / 6) * r2 + 1.0;
  const double series = even + r * odd;
  const double scale = std::bit_cast<double>(static_cast<uint64_t>(1023 + kWeightBits + n) << 52);
  return static_cast<uint64_t>(series * scale);
}

// An unsigned number that grows with the logit; equal logits (0 and -0 too) have equal keys. The
// bits of positive floats grow with their value already; those of negative ones grow the other way.
uint32_t RankKey(float logit) {
  const uint32_t bits = std::bit_cast<uint32_t>(logit + 0.0f);  // -0 + 0 is 0.
  return bits & 0x80000000 ? ~bits : bits | 0x80000000;
}

// The last token in rank that is kept; by default, the last of all.
struct Cut {
  uint32_t key = 0;
  size_t id = std::numeric_limits<size_t>::max();

  bool Keeps(float logit, size_t i) const {
    const uint32_t k = RankKey(logit);
    return k > key || (k == key && i <= id);
  }
};

// The cut that keeps the fewest tokens, in rank order, whose measures sum to need(sum of all) or
// more, and at least one. `measure(i)` is 0 for tokens that an earlier cut has dropped. Instead of
// sorting a whole vocabulary, three passes find the key of the last token that is kept, 11, 11 and
// 10 bits at a time from the top: each sums the measures of the tokens that agree with the bits
// found so far by their next bits, and walks these sums from the highest down.
template <typename Need, typename Measure>
Cut CutAt(absl::Span<const float> logits, Need need, Measure measure) {
  Cut cut;
  uint32_t known = 0;  // A mask of the bits of cut.key that have been found.
  uint64_t left = 0;   // What the tokens that agree with cut.key in these bits must still sum to.
  for (int shift : {21, 10, 0}) {
    std::array<uint64_t, 1 << 11> histogram = {};
    for (size_t i = 0; i < logits.size(); ++i) {
      const uint32_t key = RankKey(logits[i]);
      if ((key & known) == cut.key) histogram[(key & ~known) >> shift] += measure(i);
    }
    if (known == 0) left = need(std::accumulate(histogram.begin(), histogram.end(), uint64_t{0}));
    uint32_t digit = ~known >> shift;
    while (digit > 0 && histogram[digit] < left) left -= histogram[digit--];
    cut.key |= digit << shift;
    known = ~uint32_t{0} << shift;
  }
  // Of the tokens with just this key, those with the lowest ids are kept.
  for (size_t i = 0; i < logits.size() && left > 0; ++i) {
    if (RankKey(logits[i]) != cut.key) continue;
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

uint64_t RandomBits(uint64_t seed, int32_t position) {
  const auto words = Philox4x32({static_cast<uint32_t>(position), 0, 0, 0},
                                {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return words[0] | static_cast<uint64_t>(words[1]) << 32;
}

// The first i in [0, size) at which the running sum of weight(i) is above
// floor(random_bits * sum of all / 2^64). The sum of all is not 0. Tokens are taken in at most 512
// runs: the first pass keeps the sum of each run, so that afterwards only the weights of the run
// that the draw falls into have to be computed again.
template <typename Weight>
size_t Draw(size_t size, uint64_t random_bits, Weight weight) {
  constexpr size_t kRuns = 512;
  const size_t run_size = (size + kRuns - 1) / kRuns;
  std::array<uint64_t, kRuns> run_sums = {};
  uint64_t sum = 0;
  for (size_t run = 0; run * run_size < size; ++run) {
    const size_t end = std::min(size, (run + 1) * run_size);
    for (size_t i = run * run_size; i < end; ++i) run_sums[run] += weight(i);
    sum += run_sums[run];
  }
  uint64_t target = static_cast<uint64_t>(static_cast<unsigned __int128>(random_bits) * sum >> 64);
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
  if (!(row.temperature > 0.0f)) return static_cast<int32_t>(*best);
  const float max = logits[*best];
  // The steps below are those of the definition in sample.h.
  Cut kept;
  const bool cut_by_k = row.top_k > 0 && static_cast<size_t>(row.top_k) < logits.size();
  if (cut_by_k) {
    kept = CutAt(
        logits, [&](uint64_t) { return static_cast<uint64_t>(row.top_k); },
        [](size_t) { return uint64_t{1}; });
  }
  const double inverse_temperature = 1.0 / row.temperature;
  const auto weight = [&](size_t i) -> uint64_t {
    if (logits[i] == max) return uint64_t{1} << kWeightBits;
    return ExpWeight((static_cast<double>(logits[i]) - max) * inverse_temperature);
  };
  const auto kept_weight = [&](size_t i) { return kept.Keeps(logits[i], i) ? weight(i) : 0; };
  const bool cut_by_p = row.top_p < 1.0f;
  if (cut_by_p) {
    const auto need = [&](uint64_t sum) {
      const double wanted = std::ceil(static_cast<double>(row.top_p) * static_cast<double>(sum));
      return wanted > 1.0 ? static_cast<uint64_t>(wanted) : 1;
    };
    kept = CutAt(logits, need, kept_weight);
  }
  const uint64_t random_bits = RandomBits(row.seed, row.position);
  // Without a cut, tokens need not be compared with it.
  return static_cast<int32_t>(cut_by_k || cut_by_p ? Draw(logits.size(), random_bits, kept_weight)
                                                   : Draw(logits.size(), random_bits, weight));
}

}  // namespace phalanx::kernels
