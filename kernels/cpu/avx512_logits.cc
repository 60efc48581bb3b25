// Eight logits in float64 at a time, as in avx2_logits.cc.
#include <bit>
#include <limits>

#include "kernels/cpu/avx512.h"
#include "kernels/cpu/avx512_kernels.h"
#include "kernels/sampling/exp_sum.h"
#include "kernels/sampling/weight.h"

namespace phalanx::kernels::avx512 {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int kLanes = 16;
constexpr int kTruncate = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC;

PHALANX_AVX512_INLINE __mmask16 FirstLanes(int64_t n) {
  return n >= kLanes ? 0xffff : static_cast<__mmask16>((1u << n) - 1);
}

// The first `n` of sixteen logits, none if n is 0 or less, and -infinity in the other lanes:
// neither the highest logit nor a sum of exponentials changes with these.
PHALANX_AVX512_INLINE __m512 LoadLogits(const float* from, int64_t n) {
  if (n >= kLanes) return _mm512_loadu_ps(from);
  const __m512 lowest = _mm512_set1_ps(-kInfinity);
  return n <= 0 ? lowest : _mm512_mask_loadu_ps(lowest, FirstLanes(n), from);
}

PHALANX_AVX512_INLINE __m512d LowHalf(__m512 v) {
  return _mm512_cvtps_pd(_mm512_castps512_ps256(v));
}
PHALANX_AVX512_INLINE __m512d HighHalf(__m512 v) {
  return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
}

// sum * x + term.
PHALANX_AVX512_INLINE __m512d Step(__m512d sum, __m512d x, double term) {
  return _mm512_add_pd(_mm512_mul_pd(sum, x), _mm512_set1_pd(term));
}

// x = n ln 2 + r. Lanes of x that are too low for a result, or NaN, get anything.
struct Reduced {
  __m256i n;
  __m512d r;
};
PHALANX_AVX512_INLINE Reduced Reduce(__m512d x) {
  const __m256i n = _mm512_cvttpd_epi32(
      _mm512_sub_pd(_mm512_mul_pd(x, _mm512_set1_pd(kLog2E)), _mm512_set1_pd(0.5)));
  const __m512d whole = _mm512_cvtepi32_pd(n);
  const __m512d high = _mm512_sub_pd(x, _mm512_mul_pd(whole, _mm512_set1_pd(kLn2High)));
  return {n, _mm512_sub_pd(high, _mm512_mul_pd(whole, _mm512_set1_pd(kLn2Low)))};
}

// 2^(n + 44).
PHALANX_AVX512_INLINE __m512d Scale(__m256i n) {
  const __m512i exponent =
      _mm512_add_epi64(_mm512_cvtepi32_epi64(n), _mm512_set1_epi64(1023 + kWeightBits));
  return _mm512_castsi512_pd(_mm512_slli_epi64(exponent, 52));
}

// ExpWeight.
PHALANX_AVX512_INLINE __m512i ExpWeights(__m512d x) {
  const __mmask8 counts = _mm512_cmp_pd_mask(x, _mm512_set1_pd(kLeastWeightExponent), _CMP_GT_OQ);
  const Reduced reduced = Reduce(x);
  const __m512d r2 = _mm512_mul_pd(reduced.r, reduced.r);
  __m512d even = _mm512_set1_pd(1.0 / 40320);
  even = Step(even, r2, 1.0 / 720);
  even = Step(even, r2, 1.0 / 24);
  even = Step(even, r2, 0.5);
  even = Step(even, r2, 1.0);
  __m512d odd = _mm512_set1_pd(1.0 / 362880);
  odd = Step(odd, r2, 1.0 / 5040);
  odd = Step(odd, r2, 1.0 / 120);
  odd = Step(odd, r2, 1.0 / 6);
  odd = Step(odd, r2, 1.0);
  const __m512d series = _mm512_add_pd(even, _mm512_mul_pd(reduced.r, odd));
  return _mm512_maskz_cvttpd_epu64(counts, _mm512_mul_pd(series, Scale(reduced.n)));
}

// AddExponential.
PHALANX_AVX512_INLINE void AddExponential8(__m512d x, __m512i& sum_high, __m512i& sum_low) {
  const __mmask8 counts = _mm512_cmp_pd_mask(x, _mm512_set1_pd(kLeastSumExponent), _CMP_GT_OQ);
  const Reduced reduced = Reduce(x);
  const __m512d r2 = _mm512_mul_pd(reduced.r, reduced.r);
  __m512d even = _mm512_set1_pd(1.0 / 479001600);
  even = Step(even, r2, 1.0 / 3628800);
  even = Step(even, r2, 1.0 / 40320);
  even = Step(even, r2, 1.0 / 720);
  even = Step(even, r2, 1.0 / 24);
  even = Step(even, r2, 0.5);
  even = Step(even, r2, 1.0);
  __m512d odd = _mm512_set1_pd(1.0 / 6227020800);
  odd = Step(odd, r2, 1.0 / 39916800);
  odd = Step(odd, r2, 1.0 / 362880);
  odd = Step(odd, r2, 1.0 / 5040);
  odd = Step(odd, r2, 1.0 / 120);
  odd = Step(odd, r2, 1.0 / 6);
  odd = Step(odd, r2, 1.0);
  const __m512d series = _mm512_add_pd(even, _mm512_mul_pd(reduced.r, odd));
  const __m512d scaled = _mm512_mul_pd(series, Scale(reduced.n));
  const __m512d high = _mm512_roundscale_pd(scaled, kTruncate);
  const __m512d low = _mm512_mul_pd(_mm512_sub_pd(scaled, high), _mm512_set1_pd(0x1p44));
  sum_high = _mm512_add_epi64(sum_high, _mm512_maskz_cvttpd_epu64(counts, high));
  sum_low = _mm512_add_epi64(sum_low, _mm512_maskz_cvttpd_epu64(counts, low));
}

// RankKey: all bits of negative numbers are flipped, and the first one of others.
PHALANX_AVX512_INLINE __m512i RankKeys(__m512 v) {
  const __m512i bits = _mm512_castps_si512(_mm512_add_ps(v, _mm512_setzero_ps()));
  const __m512i flipped =
      _mm512_or_si512(_mm512_srai_epi32(bits, 31), _mm512_set1_epi32(static_cast<int>(0x80000000)));
  return _mm512_xor_si512(bits, flipped);
}

}  // namespace

// Four vectors, so that no maximum waits for the one before it. If a logit is NaN, max returns its
// second operand.
PHALANX_AVX512 float Highest(const float* logits, int64_t n, bool* has_nan) {
  const __m512 lowest = _mm512_set1_ps(-kInfinity);
  __m512 highest[4] = {lowest, lowest, lowest, lowest};
  __mmask16 nan = 0;
  for (int64_t i = 0; i < n; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const __m512 v = LoadLogits(logits + i + j * kLanes, n - i - j * kLanes);
      nan |= _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
      highest[j] = _mm512_max_ps(v, highest[j]);
    }
  }
  *has_nan |= nan != 0;
  return _mm512_reduce_max_ps(
      _mm512_max_ps(_mm512_max_ps(highest[0], highest[1]), _mm512_max_ps(highest[2], highest[3])));
}

// The highest logit needs no case of its own: exp(0) * 2^44 is 2^44.
PHALANX_AVX512 uint64_t WeightsOf(const Weights& weights, const float* logits, int64_t n,
                                  uint64_t* out) {
  const __m512d max = _mm512_set1_pd(weights.max());
  const __m512d inverse_temperature = _mm512_set1_pd(weights.inverse_temperature());
  __m512i sum = _mm512_setzero_si512();
  for (int64_t i = 0; i < n; i += kLanes) {
    const __m512 v = LoadLogits(logits + i, n - i);
    const __m512i low =
        ExpWeights(_mm512_mul_pd(_mm512_sub_pd(LowHalf(v), max), inverse_temperature));
    const __m512i high =
        ExpWeights(_mm512_mul_pd(_mm512_sub_pd(HighHalf(v), max), inverse_temperature));
    _mm512_storeu_si512(out + i, low);
    _mm512_storeu_si512(out + i + kLanes / 2, high);
    sum = _mm512_add_epi64(sum, _mm512_add_epi64(low, high));
  }
  return static_cast<uint64_t>(_mm512_reduce_add_epi64(sum));
}

PHALANX_AVX512 void KeysOf(const float* logits, int64_t n, uint32_t* keys) {
  for (int64_t i = 0; i < n; i += kLanes) {
    _mm512_storeu_si512(keys + i, RankKeys(LoadLogits(logits + i, n - i)));
  }
}

// Logits are compressed in a register: to memory it is slow on some processors.
PHALANX_AVX512 int64_t Select(const float* logits, int64_t n, KeyRange keys, float* out) {
  if (keys.least > keys.most) return 0;
  const __m512i least = _mm512_set1_epi32(static_cast<int>(keys.least));
  const __m512i width = _mm512_set1_epi32(static_cast<int>(keys.most - keys.least));
  int64_t count = 0;
  for (int64_t i = 0; i < n; i += kLanes) {
    const __m512 v = LoadLogits(logits + i, n - i);
    // key - least <= width.
    const __mmask16 mask = _mm512_mask_cmple_epu32_mask(
        FirstLanes(n - i), _mm512_sub_epi32(RankKeys(v), least), width);
    if (mask == 0) continue;
    _mm512_storeu_ps(out + count, _mm512_maskz_compress_ps(mask, v));
    count += std::popcount(static_cast<unsigned>(mask));
  }
  return count;
}

PHALANX_AVX512 void AddExponentials(const float* logits, int64_t n, float max, ExpSum* sum) {
  const __m512d max8 = _mm512_set1_pd(max);
  __m512i high = _mm512_setzero_si512();
  __m512i low = _mm512_setzero_si512();
  for (int64_t i = 0; i < n; i += kLanes) {
    const __m512 v = LoadLogits(logits + i, n - i);
    AddExponential8(_mm512_sub_pd(LowHalf(v), max8), high, low);
    AddExponential8(_mm512_sub_pd(HighHalf(v), max8), high, low);
  }
  sum->high += static_cast<uint64_t>(_mm512_reduce_add_epi64(high));
  sum->low += static_cast<uint64_t>(_mm512_reduce_add_epi64(low));
}

}  // namespace phalanx::kernels::avx512
