#include "kernels/reference/sample.h"

#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/reference/philox.h"

namespace phalanx::kernels {
namespace {

// With 2^19 tokens of the greatest weight sums still fit 64 bits.
constexpr int kWeightBits = 44;
// exp(x) * 2^44 is below 1 from here on down.
constexpr double kLeastExponent = -30.6;

// floor(exp(x) * 2^44) for x <= 0: x = n ln 2 + r with |r| <= ln 2 / 2, then a Taylor polynomial
// of exp(r) whose remainder is below 2^-52.
uint64_t ExpWeight(double x) {
  if (!(x > kLeastExponent)) return 0;
  constexpr double kLog2E = 1.4426950408889634;
  constexpr double kLn2High = 0x1.62e42fee00000p-1;  // Few bits: its product with n is exact.
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  const int n = static_cast<int>(x * kLog2E - 0.5);
  const double r = (x - n * kLn2High) - n * kLn2Low;
  double series = 1.0 / 479001600;
  series = series * r + 1.0 / 39916800;
  series = series * r + 1.0 / 3628800;
  series = series * r + 1.0 / 362880;
  series = series * r + 1.0 / 40320;
  series = series * r + 1.0 / 5040;
  series = series * r + 1.0 / 720;
  series = series * r + 1.0 / 120;
  series = series * r + 1.0 / 24;
  series = series * r + 1.0 / 6;
  series = series * r + 0.5;
  series = series * r + 1.0;
  series = series * r + 1.0;
  const double scale = std::bit_cast<double>(static_cast<uint64_t>(1023 + kWeightBits + n) << 52);
  return static_cast<uint64_t>(series * scale);
}

// An unsigned number that grows with the logit; equal logits (0 and -0 too) have equal keys.
uint32_t RankKey(float logit) {
  if (std::isnan(logit)) logit = -std::numeric_limits<float>::infinity();
  const uint32_t bits = std::bit_cast<uint32_t>(logit + 0.0f);
  return bits & 0x80000000 ? ~bits : bits | 0x80000000;
}

// The last token in rank that is kept.
struct Cut {
  uint32_t key = 0;
  size_t id = std::numeric_limits<size_t>::max();

  bool Keeps(float logit, size_t i) const {
    const uint32_t k = RankKey(logit);
    return k > key || (k == key && i <= id);
  }
};

// The cut that keeps the fewest tokens, in rank order, whose measures sum to `need` or more.
// `measure(i)` is 0 for tokens out of play; the sum over all is at least `need`, `need` at least 1.
// Narrows the key down digit by digit, from the highest, with a histogram of measures.
template <typename Measure>
Cut CutAt(absl::Span<const float> logits, uint64_t need, Measure measure) {
  Cut cut;
  uint32_t known = 0;
  for (int shift : {21, 10, 0}) {
    std::array<uint64_t, 1 << 11> histogram = {};
    for (size_t i = 0; i < logits.size(); ++i) {
      const uint32_t key = RankKey(logits[i]);
      if ((key & known) == cut.key) histogram[(key & ~known) >> shift] += measure(i);
    }
    uint32_t digit = (~known) >> shift;
    while (digit > 0 && histogram[digit] < need) need -= histogram[digit--];
    cut.key |= digit << shift;
    known = ~uint32_t{0} << shift;
  }
  for (size_t i = 0; i < logits.size() && need > 0; ++i) {
    if (RankKey(logits[i]) != cut.key) continue;
    const uint64_t m = measure(i);
    cut.id = i;
    need = m < need ? need - m : 0;
  }
  return cut;
}

// The first token in rank.
int32_t MostLikely(absl::Span<const float> logits) {
  size_t best = 0;
  for (size_t i = 1; i < logits.size(); ++i) {
    if (RankKey(logits[i]) > RankKey(logits[best])) best = i;
  }
  return static_cast<int32_t>(best);
}

uint64_t RandomBits(uint64_t seed, int32_t position) {
  const auto words = Philox4x32({static_cast<uint32_t>(position), 0, 0, 0},
                                {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return words[0] | static_cast<uint64_t>(words[1]) << 32;
}

}  // namespace

int32_t SampleToken(absl::Span<const float> logits, const SamplingRow& row) {
  const int32_t best = MostLikely(logits);
  const float max = logits[best];
  if (!(row.temperature > 0.0f) || !(max > -std::numeric_limits<float>::infinity())) return best;

  Cut top_k;
  if (row.top_k > 0 && static_cast<size_t>(row.top_k) < logits.size()) {
    top_k = CutAt(logits, row.top_k, [](size_t) { return uint64_t{1}; });
  }
  const double temperature = row.temperature;
  const auto weight = [&](size_t i) -> uint64_t {
    if (!top_k.Keeps(logits[i], i)) return 0;
    if (logits[i] == max) return uint64_t{1} << kWeightBits;
    return ExpWeight((static_cast<double>(logits[i]) - max) / temperature);
  };
  uint64_t sum = 0;
  for (size_t i = 0; i < logits.size(); ++i) sum += weight(i);

  Cut kept = top_k;
  if (row.top_p < 1.0f) {
    const double wanted = std::ceil(static_cast<double>(row.top_p) * static_cast<double>(sum));
    kept = CutAt(logits, wanted > 1.0 ? static_cast<uint64_t>(wanted) : 1, weight);
    sum = 0;
    for (size_t i = 0; i < logits.size(); ++i) sum += kept.Keeps(logits[i], i) ? weight(i) : 0;
  }
  const unsigned __int128 product =
      static_cast<unsigned __int128>(RandomBits(row.seed, row.position)) * sum;
  const uint64_t target = static_cast<uint64_t>(product >> 64);
  uint64_t running = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!kept.Keeps(logits[i], i)) continue;
    running += weight(i);
    if (running > target) return static_cast<int32_t>(i);
  }
  return best;
}

}  // namespace phalanx::kernels
