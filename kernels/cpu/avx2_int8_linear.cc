#include "kernels/cpu/avx2_int8_linear.h"

#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/cpu/avx2.h"
#include "kernels/cpu/avx2_kernels.h"
#include "kernels/cpu/int8_layout.h"

namespace phalanx::kernels::avx2 {
namespace {

PHALANX_AVX2_INLINE int32_t SumLanesOf(__m256i v) {
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1)));
}

}  // namespace

PHALANX_AVX2 float QuantizeBlock(const float* x, int8_t* levels, int32_t (&sums)[2]) {
  __m256 v[4];
  __m256 max = _mm256_setzero_ps();
  __m256 differences = _mm256_setzero_ps();
  const __m256 sign = _mm256_set1_ps(-0.0f);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm256_loadu_ps(x + i * kLanes);
    max = _mm256_max_ps(max, _mm256_andnot_ps(sign, v[i]));
    // Not zero, but NaN, for infinities and NaN.
    differences = _mm256_or_ps(differences, _mm256_sub_ps(v[i], v[i]));
  }
  const float maximum = MaxLanes(max);
  const bool is_finite =
      _mm256_movemask_ps(_mm256_cmp_ps(differences, differences, _CMP_UNORD_Q)) == 0;
  if (!is_finite || maximum < int8::kLeastMaximum) {
    std::memset(levels, 0, int8::kBlockInputs);
    sums[0] = sums[1] = 0;
    return is_finite ? 0.0f : std::numeric_limits<float>::quiet_NaN();
  }
  const __m256 factor = _mm256_set1_ps(127.0f / maximum);
  __m256i q[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], factor));
  sums[0] = SumLanesOf(_mm256_add_epi32(q[0], q[1]));
  sums[1] = SumLanesOf(_mm256_add_epi32(q[2], q[3]));
  const __m256i packed =
      _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
  // Packing works within halves of vectors, which leaves runs of four levels out of order.
  const __m256i in_order =
      _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(levels), in_order);
  return maximum / 127.0f;
}

void LinearInt8(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  int8_linear::Run<int8_linear::PairSums>(task, group_begin, group_end);
}

}  // namespace phalanx::kernels::avx2
