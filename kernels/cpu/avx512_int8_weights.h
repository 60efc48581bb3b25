// How kernels with vectors of 512 bits read the weights of products of bytes; int8_layout.h has the
// layout.
#ifndef PHALANX_KERNELS_CPU_AVX512_INT8_WEIGHTS_H_
#define PHALANX_KERNELS_CPU_AVX512_INT8_WEIGHTS_H_

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/avx512.h"
#include "kernels/cpu/int8_layout.h"

namespace phalanx::kernels::avx512 {

// Word `kWord` of a plane of kBits bits, in all lanes.
template <int kBits, int kWord>
PHALANX_AVX512_INLINE __m512i Field(const std::byte* plane) {
  const __m512i lanes = _mm512_load_si512(plane + kWord * kBits / 8 * int8::kVectorBytes);
  if constexpr (kBits == 8) return lanes;
  constexpr int kShift = kWord * kBits % 8;
  const __m512i shifted = kShift == 0 ? lanes : _mm512_srli_epi32(lanes, kShift);
  return _mm512_and_si512(shifted, _mm512_set1_epi8((1 << kBits) - 1));
}

// Word `kWord` of a unit: codes, or what a table has for them.
template <DType kType, int kWord>
PHALANX_AVX512_INLINE __m512i Codes(const std::byte* unit) {
  constexpr int kLow = int8::LowBits(kType);
  constexpr int kHigh = int8::HighBits(kType);
  __m512i codes = Field<kLow, kWord>(unit);
  if constexpr (kHigh > 0) {
    const __m512i high = Field<kHigh, kWord>(unit + kLow * int8::kVectorBytes);
    codes = _mm512_or_si512(codes, _mm512_slli_epi32(high, kLow));
  }
  if constexpr (kType == DType::kIQ4_NL) {
    // The levels, with 128 added.
    const __m128i table =
        _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kIq4NlLevels.data())),
                      _mm_set1_epi8(-128));
    codes = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), codes);
  }
  return codes;
}

PHALANX_AVX512_INLINE __m512 LoadHalves(const std::byte* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

PHALANX_AVX512_INLINE __m512 LoadSigned(const std::byte* from) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}

PHALANX_AVX512_INLINE __m512 LoadUnsigned(const std::byte* from) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
}

// D and M of sub-block `s` of a block; M of types that have a minimum.
template <DType kType>
PHALANX_AVX512_INLINE void LoadScale(const std::byte* block, int64_t s, __m512& d, __m512& m) {
  constexpr int kSubBlocks = int8::SubBlocks(kType);
  d = LoadHalves(block);
  if constexpr (HasMinimum(kType)) m = LoadHalves(block + 32);
  if constexpr (kSubBlocks > 1) {
    const std::byte* const at = block + (HasMinimum(kType) ? 64 : 32) + s * int8::kGroupRows;
    if constexpr (kType == DType::kQ2_K) {
      const __m512i both =
          _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
      const __m512i scale = _mm512_and_si512(both, _mm512_set1_epi32(15));
      d = _mm512_mul_ps(d, _mm512_cvtepi32_ps(scale));
      m = _mm512_mul_ps(m, _mm512_cvtepi32_ps(_mm512_srli_epi32(both, 4)));
    } else {
      d = _mm512_mul_ps(d, LoadSigned(at));
      if constexpr (HasMinimum(kType)) {
        m = _mm512_mul_ps(m, LoadUnsigned(at + kSubBlocks * int8::kGroupRows));
      }
    }
  }
}

}  // namespace phalanx::kernels::avx512

#endif  // PHALANX_KERNELS_CPU_AVX512_INT8_WEIGHTS_H_
