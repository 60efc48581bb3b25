// Four logits in float64 at a time, by the operations of kernels/sampling/weight.h and exp_sum.h in
// the order in which they are written there. No product is fused with a sum.
#include <array>
#include <bit>
#include <limits>

#include "kernels/cpu/avx2.h"
#include "kernels/cpu/avx2_kernels.h"
#include "kernels/sampling/exp_sum.h"
#include "kernels/sampling/weight.h"

namespace phalanx::kernels::avx2 {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The first `n` of eight logits, and -infinity in the other lanes: neither the highest logit nor a
// sum of exponentials changes with these.
PHALANX_AVX2_INLINE __m256 LoadLogits(const float* from, int64_t n) {
  if (n >= kLanes) return _mm256_loadu_ps(from);
  const __m256i lanes = FirstLanes(n);
  return _mm256_blendv_ps(_mm256_set1_ps(-kInfinity), _mm256_maskload_ps(from, lanes),
                          _mm256_castsi256_ps(lanes));
}

PHALANX_AVX2_INLINE __m256d LowHalf(__m256 v) { return _mm256_cvtps_pd(_mm256_castps256_ps128(v)); }
PHALANX_AVX2_INLINE __m256d HighHalf(__m256 v) {
  return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
}

PHALANX_AVX2_INLINE uint64_t SumOfWords(__m256i v) {
  const __m128i two = _mm_add_epi64(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  return static_cast<uint64_t>(_mm_extract_epi64(two, 0)) +
         static_cast<uint64_t>(_mm_extract_epi64(two, 1));
}

// Whole numbers of at most 2^51 as words: the last bits of a float64 of 2^52 and more are units.
PHALANX_AVX2_INLINE __m256i Words(__m256d whole) {
  const __m256d units = _mm256_set1_pd(0x1p52);
  return _mm256_xor_si256(_mm256_castpd_si256(_mm256_add_pd(whole, units)),
                          _mm256_castpd_si256(units));
}

PHALANX_AVX2_INLINE __m256d Truncated(__m256d x) {
  return _mm256_round_pd(x, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
}

// sum * x + term.
PHALANX_AVX2_INLINE __m256d Step(__m256d sum, __m256d x, double term) {
  return _mm256_add_pd(_mm256_mul_pd(sum, x), _mm256_set1_pd(term));
}

// x = n ln 2 + r. Lanes of x that are too low for a result, or NaN, get anything.
struct Reduced {
  __m128i n;
  __m256d r;
};
PHALANX_AVX2_INLINE Reduced Reduce(__m256d x) {
  const __m128i n = _mm256_cvttpd_epi32(
      _mm256_sub_pd(_mm256_mul_pd(x, _mm256_set1_pd(kLog2E)), _mm256_set1_pd(0.5)));
  const __m256d whole = _mm256_cvtepi32_pd(n);
  const __m256d high = _mm256_sub_pd(x, _mm256_mul_pd(whole, _mm256_set1_pd(kLn2High)));
  return {n, _mm256_sub_pd(high, _mm256_mul_pd(whole, _mm256_set1_pd(kLn2Low)))};
}

// 2^(n + 44).
PHALANX_AVX2_INLINE __m256d Scale(__m128i n) {
  const __m256i exponent =
      _mm256_add_epi64(_mm256_cvtepi32_epi64(n), _mm256_set1_epi64x(1023 + kWeightBits));
  return _mm256_castsi256_pd(_mm256_slli_epi64(exponent, 52));
}

// ExpWeight.
PHALANX_AVX2_INLINE __m256i ExpWeights(__m256d x) {
  const __m256d counts = _mm256_cmp_pd(x, _mm256_set1_pd(kLeastWeightExponent), _CMP_GT_OQ);
  const Reduced reduced = Reduce(x);
  const __m256d r2 = _mm256_mul_pd(reduced.r, reduced.r);
  __m256d even = _mm256_set1_pd(1.0 / 40320);
  even = Step(even, r2, 1.0 / 720);
  even = Step(even, r2, 1.0 / 24);
  even = Step(even, r2, 0.5);
  even = Step(even, r2, 1.0);
  __m256d odd = _mm256_set1_pd(1.0 / 362880);
  odd = Step(odd, r2, 1.0 / 5040);
  odd = Step(odd, r2, 1.0 / 120);
  odd = Step(odd, r2, 1.0 / 6);
  odd = Step(odd, r2, 1.0);
  const __m256d series = _mm256_add_pd(even, _mm256_mul_pd(reduced.r, odd));
  const __m256d scaled = _mm256_mul_pd(series, Scale(reduced.n));
  return _mm256_and_si256(Words(Truncated(scaled)), _mm256_castpd_si256(counts));
}

// AddExponential.
PHALANX_AVX2_INLINE void AddExponential4(__m256d x, __m256i& sum_high, __m256i& sum_low) {
  const __m256i counts =
      _mm256_castpd_si256(_mm256_cmp_pd(x, _mm256_set1_pd(kLeastSumExponent), _CMP_GT_OQ));
  const Reduced reduced = Reduce(x);
  const __m256d r2 = _mm256_mul_pd(reduced.r, reduced.r);
  __m256d even = _mm256_set1_pd(1.0 / 479001600);
  even = Step(even, r2, 1.0 / 3628800);
  even = Step(even, r2, 1.0 / 40320);
  even = Step(even, r2, 1.0 / 720);
  even = Step(even, r2, 1.0 / 24);
  even = Step(even, r2, 0.5);
  even = Step(even, r2, 1.0);
  __m256d odd = _mm256_set1_pd(1.0 / 6227020800);
  odd = Step(odd, r2, 1.0 / 39916800);
  odd = Step(odd, r2, 1.0 / 362880);
  odd = Step(odd, r2, 1.0 / 5040);
  odd = Step(odd, r2, 1.0 / 120);
  odd = Step(odd, r2, 1.0 / 6);
  odd = Step(odd, r2, 1.0);
  const __m256d series = _mm256_add_pd(even, _mm256_mul_pd(reduced.r, odd));
  const __m256d scaled = _mm256_mul_pd(series, Scale(reduced.n));
  const __m256d high = Truncated(scaled);
  const __m256d low = Truncated(_mm256_mul_pd(_mm256_sub_pd(scaled, high), _mm256_set1_pd(0x1p44)));
  sum_high = _mm256_add_epi64(sum_high, _mm256_and_si256(Words(high), counts));
  sum_low = _mm256_add_epi64(sum_low, _mm256_and_si256(Words(low), counts));
}

// RankKey: all bits of negative numbers are flipped, and the first one of others.
PHALANX_AVX2_INLINE __m256i RankKeys(__m256 v) {
  const __m256i bits = _mm256_castps_si256(_mm256_add_ps(v, _mm256_setzero_ps()));
  const __m256i flipped =
      _mm256_or_si256(_mm256_srai_epi32(bits, 31), _mm256_set1_epi32(static_cast<int>(0x80000000)));
  return _mm256_xor_si256(bits, flipped);
}

// For each mask of eight lanes, their numbers, lowest first.
constexpr std::array<std::array<uint8_t, 8>, 256> LanesOfMasks() {
  std::array<std::array<uint8_t, 8>, 256> lists = {};
  for (int mask = 0; mask < 256; ++mask) {
    int count = 0;
    for (uint8_t lane = 0; lane < 8; ++lane) {
      if (mask >> lane & 1) lists[mask][count++] = lane;
    }
  }
  return lists;
}
constexpr auto kLanesOfMasks = LanesOfMasks();

}  // namespace

// Four vectors, so that no maximum waits for the one before it. If a logit is NaN, max returns its
// second operand.
PHALANX_AVX2 float Highest(const float* logits, int64_t n, bool* has_nan) {
  const __m256 lowest = _mm256_set1_ps(-kInfinity);
  __m256 highest[4] = {lowest, lowest, lowest, lowest};
  __m256 nan = _mm256_setzero_ps();
  for (int64_t i = 0; i < n; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const __m256 v = LoadLogits(logits + i + j * kLanes, n - i - j * kLanes);
      nan = _mm256_or_ps(nan, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
      highest[j] = _mm256_max_ps(v, highest[j]);
    }
  }
  *has_nan |= _mm256_movemask_ps(nan) != 0;
  return MaxLanes(
      _mm256_max_ps(_mm256_max_ps(highest[0], highest[1]), _mm256_max_ps(highest[2], highest[3])));
}

// The highest logit needs no case of its own: exp(0) * 2^44 is 2^44.
PHALANX_AVX2 uint64_t WeightsOf(const Weights& weights, const float* logits, int64_t n,
                                uint64_t* out) {
  const __m256d max = _mm256_set1_pd(weights.max());
  const __m256d inverse_temperature = _mm256_set1_pd(weights.inverse_temperature());
  __m256i sum = _mm256_setzero_si256();
  for (int64_t i = 0; i < n; i += kLanes) {
    const __m256 v = LoadLogits(logits + i, n - i);
    const __m256i low =
        ExpWeights(_mm256_mul_pd(_mm256_sub_pd(LowHalf(v), max), inverse_temperature));
    const __m256i high =
        ExpWeights(_mm256_mul_pd(_mm256_sub_pd(HighHalf(v), max), inverse_temperature));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), low);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i + kLanes / 2), high);
    sum = _mm256_add_epi64(sum, _mm256_add_epi64(low, high));
  }
  return SumOfWords(sum);
}

PHALANX_AVX2 void KeysOf(const float* logits, int64_t n, uint32_t* keys) {
  for (int64_t i = 0; i < n; i += kLanes) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(keys + i),
                        RankKeys(LoadFirst(logits + i, n - i)));
  }
}

PHALANX_AVX2 int64_t Select(const float* logits, int64_t n, KeyRange keys, float* out) {
  if (keys.least > keys.most) return 0;
  const __m256i least = _mm256_set1_epi32(static_cast<int>(keys.least));
  const __m256i width = _mm256_set1_epi32(static_cast<int>(keys.most - keys.least));
  int64_t count = 0;
  for (int64_t i = 0; i < n; i += kLanes) {
    const __m256 v = LoadFirst(logits + i, n - i);
    // As unsigned numbers: key - least <= width.
    const __m256i above = _mm256_sub_epi32(RankKeys(v), least);
    const __m256i in_range = _mm256_cmpeq_epi32(_mm256_min_epu32(above, width), above);
    int mask = _mm256_movemask_ps(_mm256_castsi256_ps(in_range));
    if (n - i < kLanes) mask &= (1 << (n - i)) - 1;
    if (mask == 0) continue;
    const __m256i lanes = _mm256_cvtepu8_epi32(
        _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kLanesOfMasks[mask].data())));
    _mm256_storeu_ps(out + count, _mm256_permutevar8x32_ps(v, lanes));
    count += std::popcount(static_cast<unsigned>(mask));
  }
  return count;
}

PHALANX_AVX2 void AddExponentials(const float* logits, int64_t n, float max, ExpSum* sum) {
  const __m256d max4 = _mm256_set1_pd(max);
  __m256i high = _mm256_setzero_si256();
  __m256i low = _mm256_setzero_si256();
  for (int64_t i = 0; i < n; i += kLanes) {
    const __m256 v = LoadLogits(logits + i, n - i);
    AddExponential4(_mm256_sub_pd(LowHalf(v), max4), high, low);
    AddExponential4(_mm256_sub_pd(HighHalf(v), max4), high, low);
  }
  sum->high += SumOfWords(high);
  sum->low += SumOfWords(low);
}

}  // namespace phalanx::kernels::avx2
