// How kernels with vectors of 512 bits make pairs of bfloat16 of quantized weights; bf16_layout.h
// has the layout.
#ifndef PHALANX_KERNELS_CPU_AVX512_BF16_WEIGHTS_H_
#define PHALANX_KERNELS_CPU_AVX512_BF16_WEIGHTS_H_

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/avx512.h"
#include "kernels/cpu/avx512_int8_weights.h"
#include "kernels/cpu/bf16_layout.h"
#include "kernels/cpu/int8_layout.h"

namespace phalanx::kernels::avx512 {

// Rounds two weights of each of 16 outputs and makes a pair of them.
PHALANX_AVX512_BF16_INLINE __m512i RoundedPairs(__m512 first, __m512 second) {
  const auto halves = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first));
  // All first weights lie before all second ones.
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, halves);
}

// Scales for a code where it stands in its word: that of byte i is 2^(8 i) times too large. The
// highest byte is shifted down, since its top bit would be taken for a sign.
struct ByteScales {
  __m512 d[3];
  __m512 m;
};
template <DType kType>
PHALANX_AVX512_INLINE ByteScales LoadByteScales(const std::byte* block, int64_t sub_block) {
  ByteScales scales;
  LoadScale<kType>(block, sub_block, scales.d[0], scales.m);
  if constexpr (!HasMinimum(kType)) {
    // A weight is d * (code - zero), as a product and a sum, both exact.
    scales.m = _mm512_mul_ps(scales.d[0], _mm512_set1_ps(-static_cast<float>(int8::ZeroOf(kType))));
  }
  scales.d[1] = _mm512_mul_ps(scales.d[0], _mm512_set1_ps(0x1p-8f));
  scales.d[2] = _mm512_mul_ps(scales.d[0], _mm512_set1_ps(0x1p-16f));
  return scales;
}

// Words [kWord, kEnd) of a unit.
template <DType kType, int kWord, int kEnd>
PHALANX_AVX512_BF16_INLINE void ExpandPairs(const std::byte* unit, const ByteScales& scales,
                                            std::byte* to) {
  if constexpr (kWord < kEnd) {
    const __m512i codes = Codes<kType, kWord>(unit);
    __m512 weights[4];
#pragma GCC unroll 3
    for (int i = 0; i < 3; ++i) {
      const __m512i code = _mm512_and_si512(codes, _mm512_set1_epi32(0xff << (8 * i)));
      weights[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(code), scales.d[i], scales.m);
    }
    const __m512i code = _mm512_srli_epi32(codes, 24);
    weights[3] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(code), scales.d[0], scales.m);
    std::byte* const pairs = to + 2 * kWord * bf16::kVectorBytes;
    _mm512_store_si512(pairs, RoundedPairs(weights[0], weights[1]));
    _mm512_store_si512(pairs + bf16::kVectorBytes, RoundedPairs(weights[2], weights[3]));
    ExpandPairs<kType, kWord + 1, kEnd>(unit, scales, to);
  }
}

// Writes the blocks [begin, end) of a group of quantized weights as pairs; `to` is aligned to 64
// bytes.
template <DType kType>
PHALANX_AVX512_BF16 __attribute__((noinline)) void ExpandGroup(const std::byte* group,
                                                               int64_t in_features, int64_t begin,
                                                               int64_t end, std::byte* to) {
  constexpr int kUnits = int8::UnitsPerBlock(kType);
  constexpr int kParts = int8::kBlockInputs / SubBlockElements(kType);
  constexpr int kPartWords = int8::kUnitWords / kParts;
  const std::byte* const scales = group + int8::CodeBytes(kType, in_features);
  for (int64_t b = begin; b < end; ++b, to += bf16::kBlockBytes) {
    const std::byte* const unit = group + b * int8::UnitBytes(kType);
    const std::byte* const block = scales + b / kUnits * int8::ScaleBytes(kType);
    const int64_t part = b % kUnits * kParts;
    ExpandPairs<kType, 0, kPartWords>(unit, LoadByteScales<kType>(block, part), to);
    if constexpr (kParts == 2) {
      ExpandPairs<kType, kPartWords, int8::kUnitWords>(unit, LoadByteScales<kType>(block, part + 1),
                                                       to);
    }
  }
}

}  // namespace phalanx::kernels::avx512

#endif  // PHALANX_KERNELS_CPU_AVX512_BF16_WEIGHTS_H_
