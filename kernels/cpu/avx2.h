// What the AVX2 kernels share. Each function names the instructions that it may use, in place of
// compiler flags for the whole file. With flags, an inline function of a header that other files
// include too could be compiled to AVX2 here, and the linker might keep this copy for all of them:
// the program would then crash on machines without AVX2.
#ifndef PHALANX_KERNELS_CPU_AVX2_H_
#define PHALANX_KERNELS_CPU_AVX2_H_

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/intrinsics.h"

#define PHALANX_AVX2 __attribute__((target("avx2,fma,f16c")))
// For functions that take or return vectors. They are always inlined, since no vector register
// survives a call: the caller would have to store all its sums to memory and load them again.
#define PHALANX_AVX2_INLINE PHALANX_AVX2 __attribute__((always_inline)) inline

namespace phalanx::kernels::avx2 {

inline constexpr int kLanes = 8;

// All bits set in the first `n` lanes: in every lane if n is 8 or more, in none if it is 0 or less.
PHALANX_AVX2_INLINE __m256i FirstLanes(int64_t n) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const int count = static_cast<int>(std::min<int64_t>(n, kLanes));
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lanes);
}

// Loads the first `n` floats: all eight if n is 8 or more, none if it is 0 or less. The other lanes
// become zero and their memory is not read, so rows may have any length.
PHALANX_AVX2_INLINE __m256 LoadFirst(const float* from, int64_t n) {
  return n >= kLanes ? _mm256_loadu_ps(from) : _mm256_maskload_ps(from, FirstLanes(n));
}

// Stores the first `n` lanes, all eight if n is 8 or more. A whole vector is stored without a mask,
// because masked stores are slow.
PHALANX_AVX2_INLINE void StoreFirst(float* to, int64_t n, __m256 v) {
  if (n >= kLanes) {
    _mm256_storeu_ps(to, v);
  } else {
    _mm256_maskstore_ps(to, FirstLanes(n), v);
  }
}

// ((v0 + v4) + (v2 + v6)) + ((v1 + v5) + (v3 + v7)). The order is part of what makes results the
// same bits each time.
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
  // If an operand is NaN, min and max return the second one: a NaN in x stays.
  x = _mm256_max_ps(_mm256_set1_ps(-87.3f), x);
  x = _mm256_min_ps(_mm256_set1_ps(88.3f), x);
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  // ln 2 is subtracted in two parts. The first has so few bits that n times it is exact, so that
  // nothing is lost where x and n ln 2 nearly cancel.
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
  // 2^n, written into the exponent field of a float. n is in [-126, 127] after the bounds on x, so
  // this is a normal number.
  const __m256i exponent =
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return _mm256_mul_ps(series, _mm256_castsi256_ps(exponent));
}

}  // namespace phalanx::kernels::avx2

#endif  // PHALANX_KERNELS_CPU_AVX2_H_
