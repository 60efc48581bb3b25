#include "kernels/cpu/avx2_int8_linear.h"

#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/cpu/avx2.h"
#include "kernels/cpu/avx2_kernels.h"
#include "kernels/cpu/int8_layout.h"

namespace phalanx::kernels::avx2 {
namespace {

static_assert(int8::kMostBlocks == kLanes);

// The largest magnitude of a block of 32, or NaN if it has a number that is not finite.
PHALANX_AVX2_INLINE float LargestMagnitude(const float* x) {
  __m256 max = _mm256_setzero_ps();
  __m256 differences = _mm256_setzero_ps();
  const __m256 sign = _mm256_set1_ps(-0.0f);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m256 v = _mm256_loadu_ps(x + i * kLanes);
    max = _mm256_max_ps(max, _mm256_andnot_ps(sign, v));
    // Not zero, but NaN, for infinities and NaN.
    differences = _mm256_or_ps(differences, _mm256_sub_ps(v, v));
  }
  const bool is_finite =
      _mm256_movemask_ps(_mm256_cmp_ps(differences, differences, _CMP_UNORD_Q)) == 0;
  return is_finite ? MaxLanes(max) : std::numeric_limits<float>::quiet_NaN();
}

// The levels of a block, x * factor, and the sums of its halves.
PHALANX_AVX2_INLINE void StoreLevels(const float* x, float factor, int8_t* levels,
                                     int32_t (&sums)[2]) {
  const __m256 factors = _mm256_set1_ps(factor);
  __m256i q[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i * kLanes), factors));
  }
  const __m256i packed =
      _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
  // Packing works within halves of vectors, which leaves runs of four levels out of order.
  const __m256i in_order =
      _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(levels), in_order);
  // Sums of two levels, of four, of eight, and then of sixteen.
  const __m256i twos = _mm256_maddubs_epi16(_mm256_set1_epi8(1), in_order);
  const __m256i fours = _mm256_madd_epi16(twos, _mm256_set1_epi16(1));
  const __m256i eights = _mm256_add_epi32(fours, _mm256_shuffle_epi32(fours, 0b01'00'11'10));
  const __m256i all = _mm256_add_epi32(eights, _mm256_shuffle_epi32(eights, 0b10'11'00'01));
  sums[0] = _mm256_extract_epi32(all, 0);
  sums[1] = _mm256_extract_epi32(all, 4);
}

}  // namespace

PHALANX_AVX2 void QuantizeBlocks(const float* x, int blocks, int8_t* levels, int64_t stride,
                                 int8::QuantizedBlocks& to) {
  alignas(32) float maxima[kLanes] = {};
  for (int i = 0; i < blocks; ++i) maxima[i] = LargestMagnitude(x + i * int8::kBlockInputs);
  // All divisions at once.
  const __m256 largest = _mm256_load_ps(maxima);
  const __m256 most_level = _mm256_set1_ps(127.0f);
  alignas(32) float factors[kLanes];
  _mm256_store_ps(factors, _mm256_div_ps(most_level, largest));
  _mm256_storeu_ps(to.scales, _mm256_div_ps(largest, most_level));
  for (int i = 0; i < blocks; ++i) {
    int8_t* const block_levels = levels + i * stride;
    if (maxima[i] >= int8::kLeastMaximum) {
      StoreLevels(x + i * int8::kBlockInputs, factors[i], block_levels, to.sums[i]);
      continue;
    }
    // Too small, or NaN, which is then the scale too.
    std::memset(block_levels, 0, int8::kBlockInputs);
    to.sums[i][0] = to.sums[i][1] = 0;
    if (maxima[i] < int8::kLeastMaximum) to.scales[i] = 0.0f;
  }
}

void LinearInt8(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  int8_linear::Run<int8_linear::PairSums>(task, group_begin, group_end);
}

}  // namespace phalanx::kernels::avx2
