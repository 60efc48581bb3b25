// How kernels with vectors of 256 bits read the weights of products of bytes: out of packed groups,
// whose layout int8_layout.h has, or out of panels.
#ifndef PHALANX_KERNELS_CPU_AVX2_INT8_WEIGHTS_H_
#define PHALANX_KERNELS_CPU_AVX2_INT8_WEIGHTS_H_

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/avx2.h"
#include "kernels/cpu/int8_layout.h"
#include "kernels/cpu/linear_format.h"

namespace phalanx::kernels::avx2::int8_linear {

inline constexpr int kHalves = 2;      // Of a group: a vector has half of its outputs.
inline constexpr int kLaneBytes = 32;  // Of half a group.

// --- Instructions ---

// For machines with AVX2 alone: pairs of products are added in 16 bits, as many of these as fit,
// and then in 32 bits.
struct PairSums {
  static constexpr bool kDotsOfFour = false;
};
// Other instructions have kDotsOfFour = true and a function
//   __m256i Add(__m256i sums, __m256i codes, __m256i levels)
// that adds to each lane the dot product of four unsigned codes and four signed levels.

// Whether weights are multiplied as signed levels. Codes of some types need all eight bits of an
// unsigned byte, so that two of their products do not fit into 16 bits.
template <typename Sums>
constexpr bool HasSignedLevels(DType dtype) {
  return !Sums::kDotsOfFour && int8::ZeroOf(dtype) == 128;
}

// --- Codes and scales of packed weights ---

PHALANX_AVX2_INLINE __m256i LoadLanes(const std::byte* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

// Word `kWord` of a plane of kBits bits, for half a group.
template <int kBits, int kWord>
PHALANX_AVX2_INLINE __m256i Field(const std::byte* plane) {
  const __m256i lanes = LoadLanes(plane + kWord * kBits / 8 * int8::kVectorBytes);
  if constexpr (kBits == 8) return lanes;
  constexpr int kShift = kWord * kBits % 8;
  const __m256i shifted = kShift == 0 ? lanes : _mm256_srli_epi32(lanes, kShift);
  return _mm256_and_si256(shifted, _mm256_set1_epi8((1 << kBits) - 1));
}

// Word `kWord` of a unit: codes, or what a table has for them; or signed levels.
template <typename Sums, DType kType, int kWord>
PHALANX_AVX2_INLINE __m256i Codes(const std::byte* unit) {
  constexpr int kLow = int8::LowBits(kType);
  constexpr int kHigh = int8::HighBits(kType);
  __m256i codes = Field<kLow, kWord>(unit);
  if constexpr (kHigh > 0) {
    const __m256i high = Field<kHigh, kWord>(unit + kLow * int8::kVectorBytes);
    codes = _mm256_or_si256(codes, _mm256_slli_epi32(high, kLow));
  }
  if constexpr (kType == DType::kIQ4_NL) {
    __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(kIq4NlLevels.data()));
    if constexpr (!HasSignedLevels<Sums>(kType)) table = _mm_xor_si128(table, _mm_set1_epi8(-128));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), codes);
  }
  if constexpr (HasSignedLevels<Sums>(kType)) {
    codes = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
  }
  return codes;
}

PHALANX_AVX2_INLINE __m256 LoadHalves(const std::byte* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

// D and M of sub-block `s` of a block, for half a group.
template <DType kType>
PHALANX_AVX2_INLINE void LoadScale(const std::byte* block, int half, int64_t s, __m256& d,
                                   __m256& m) {
  constexpr int kSubBlocks = int8::SubBlocks(kType);
  d = LoadHalves(block + half * 16);
  if constexpr (HasMinimum(kType)) m = LoadHalves(block + 32 + half * 16);
  if constexpr (kSubBlocks > 1) {
    const std::byte* const at =
        block + (HasMinimum(kType) ? 64 : 32) + s * int8::kGroupRows + half * 8;
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(at));
    if constexpr (kType == DType::kQ2_K) {
      const __m256i both = _mm256_cvtepu8_epi32(bytes);
      const __m256i scale = _mm256_and_si256(both, _mm256_set1_epi32(15));
      d = _mm256_mul_ps(d, _mm256_cvtepi32_ps(scale));
      m = _mm256_mul_ps(m, _mm256_cvtepi32_ps(_mm256_srli_epi32(both, 4)));
    } else {
      d = _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)));
      if constexpr (HasMinimum(kType)) {
        const __m128i minimums =
            _mm_loadl_epi64(reinterpret_cast<const __m128i*>(at + kSubBlocks * int8::kGroupRows));
        m = _mm256_mul_ps(m, _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(minimums)));
      }
    }
  }
}

// --- The weights of one group, a unit at a time ---

// Sub-blocks of a unit, 1 or 2.
template <DType kType>
inline constexpr int kParts = int8::kBlockInputs / SubBlockElements(kType);

// As they lie packed. kReadsAhead: each unit brings the one that lies `ahead` bytes behind it into
// the cache.
template <typename Sums, DType kType, bool kReadsAhead>
class PackedWeights {
 public:
  PackedWeights(const PackedMatrix& matrix, int64_t group, size_t ahead)
      : unit_(matrix.data + group * int8::GroupBytes(kType, matrix.in_features)),
        scales_(unit_ + int8::CodeBytes(kType, matrix.in_features)),
        ahead_(ahead) {}

  template <int kWord>
  PHALANX_AVX2_INLINE __m256i Codes(int half) const {
    return int8_linear::Codes<Sums, kType, kWord>(unit_ + half * kLaneBytes);
  }
  // D and M of sub-block `part` of the unit.
  PHALANX_AVX2_INLINE void Scale(int half, int part, __m256& d, __m256& m) const {
    LoadScale<kType>(scales_, half, unit_of_block_ * kParts<kType> + part, d, m);
  }
  PHALANX_AVX2_INLINE void Next() {
    if constexpr (kReadsAhead) int8::ReadAhead(unit_ + ahead_, int8::UnitBytes(kType));
    unit_ += int8::UnitBytes(kType);
    if (++unit_of_block_ < int8::UnitsPerBlock(kType)) return;
    unit_of_block_ = 0;
    if constexpr (kReadsAhead) int8::ReadAhead(scales_ + ahead_, int8::ScaleBytes(kType));
    scales_ += int8::ScaleBytes(kType);
  }

 private:
  const std::byte* unit_;
  const std::byte* scales_;
  const size_t ahead_;
  int unit_of_block_ = 0;
};

// Units that are decoded once, for many rows: 24 KiB, which stay in the first-level cache while all
// rows pass by.
inline constexpr int kPanelUnits = 32;
struct Panel {
  alignas(64) std::byte codes[kPanelUnits][int8::kUnitWords][kHalves][kLaneBytes];
  // Of two sub-blocks a unit, the most there are.
  alignas(64) float d[2 * kPanelUnits][kHalves][kLanes];
  alignas(64) float m[2 * kPanelUnits][kHalves][kLanes];
};

template <DType kType>
class PanelWeights {
 public:
  explicit PanelWeights(const Panel& panel) : panel_(panel) {}

  template <int kWord>
  PHALANX_AVX2_INLINE __m256i Codes(int half) const {
    return LoadLanes(panel_.codes[unit_][kWord][half]);
  }
  PHALANX_AVX2_INLINE void Scale(int half, int part, __m256& d, __m256& m) const {
    d = _mm256_load_ps(panel_.d[unit_ * kParts<kType> + part][half]);
    if constexpr (HasMinimum(kType)) {
      m = _mm256_load_ps(panel_.m[unit_ * kParts<kType> + part][half]);
    }
  }
  PHALANX_AVX2_INLINE void Next() { ++unit_; }

 private:
  const Panel& panel_;
  int64_t unit_ = 0;
};

template <int kWord, typename Weights>
PHALANX_AVX2_INLINE void StoreWords(const Weights& weights,
                                    std::byte (&to)[int8::kUnitWords][kHalves][kLaneBytes]) {
  if constexpr (kWord < int8::kUnitWords) {
    for (int h = 0; h < kHalves; ++h) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(to[kWord][h]),
                         weights.template Codes<kWord>(h));
    }
    StoreWords<kWord + 1>(weights, to);
  }
}

// Decodes the next `units` units, at most kPanelUnits.
template <DType kType, typename Weights>
PHALANX_AVX2 __attribute__((noinline)) void FillPanel(Weights& weights, int64_t units,
                                                      Panel& panel) {
  for (int64_t u = 0; u < units; ++u, weights.Next()) {
    StoreWords<0>(weights, panel.codes[u]);
    for (int part = 0; part < kParts<kType>; ++part) {
      const int64_t at = u * kParts<kType> + part;
      for (int h = 0; h < kHalves; ++h) {
        __m256 d = {};
        __m256 m = {};
        weights.Scale(h, part, d, m);
        _mm256_store_ps(panel.d[at][h], d);
        if constexpr (HasMinimum(kType)) _mm256_store_ps(panel.m[at][h], m);
      }
    }
  }
}

}  // namespace phalanx::kernels::avx2::int8_linear

#endif  // PHALANX_KERNELS_CPU_AVX2_INT8_WEIGHTS_H_
