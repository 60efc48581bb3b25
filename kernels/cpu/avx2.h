// Helpers for the AVX2 kernels. Functions carry their target themselves, so that the files compile
// without flags and nothing that is shared with other files can pick up these instructions.
#ifndef PHALANX_KERNELS_CPU_AVX2_H_
#define PHALANX_KERNELS_CPU_AVX2_H_

#include <immintrin.h>

#include <algorithm>
#include <cstdint>

#define PHALANX_AVX2 __attribute__((target("avx2,fma,f16c")))
// For helpers that take or give vectors: those must end up in their callers.
#define PHALANX_AVX2_INLINE PHALANX_AVX2 __attribute__((always_inline)) inline

namespace phalanx::kernels::avx2 {

inline constexpr int kLanes = 8;

// A mask of the first `n` lanes, of all from 8 on.
PHALANX_AVX2_INLINE __m256i FirstLanes(int64_t n) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const int count = static_cast<int>(std::min<int64_t>(n, kLanes));
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lanes);
}

// Loads the first `n` floats, all eight from 8 on, and zeros. Whole vectors avoid the mask, which
// is slow to store through.
PHALANX_AVX2_INLINE __m256 LoadFirst(const float* from, int64_t n) {
  return n >= kLanes ? _mm256_loadu_ps(from) : _mm256_maskload_ps(from, FirstLanes(n));
}

// Stores the first `n` lanes, all eight from 8 on.
PHALANX_AVX2_INLINE void StoreFirst(float* to, int64_t n, __m256 v) {
  if (n >= kLanes) {
    _mm256_storeu_ps(to, v);
  } else {
    _mm256_maskstore_ps(to, FirstLanes(n), v);
  }
}

PHALANX_AVX2_INLINE float SumLanes(__m256 v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

PHALANX_AVX2_INLINE float MaxLanes(__m256 v) {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

// exp(x) to about one unit in the last place for x in [-87.3, 88.3]; outside, the value at the
// nearer end. NaN stays NaN. x = n ln 2 + r with |r| <= ln 2 / 2, exp(r) as a Taylor polynomial
// whose remainder r^8 / 8! is below 2^-27.
PHALANX_AVX2_INLINE __m256 Exp(__m256 x) {
  // min and max give their second operand if one is NaN.
  x = _mm256_max_ps(_mm256_set1_ps(-87.3f), x);
  x = _mm256_min_ps(_mm256_set1_ps(88.3f), x);
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  // ln 2 in two parts; the first has so few bits that n times it is exact.
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62e400p-1f), x);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.7f7d1cp-20f), r);
  __m256 series = _mm256_set1_ps(1.0f / 5040);
  series = _mm256_fmadd_ps(series, r, _mm256_set1_ps(1.0f / 720));
  series = _mm256_fmadd_ps(series, r, _mm256_set1_ps(1.0f / 120));
  series = _mm256_fmadd_ps(series, r, _mm256_set1_ps(1.0f / 24));
  series = _mm256_fmadd_ps(series, r, _mm256_set1_ps(1.0f / 6));
  series = _mm256_fmadd_ps(series, r, _mm256_set1_ps(0.5f));
  series = _mm256_fmadd_ps(series, r, _mm256_set1_ps(1.0f));
  series = _mm256_fmadd_ps(series, r, _mm256_set1_ps(1.0f));
  const __m256i exponent =
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_mul_ps(series, _mm256_castsi256_ps(exponent));
}

}  // namespace phalanx::kernels::avx2

#endif  // PHALANX_KERNELS_CPU_AVX2_H_
