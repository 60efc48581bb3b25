// How the AVX2 kernels read packed weights. ForEachInput walks along the inputs and gives, for each
// of them, the weights of the eight outputs of a group as a vector. Float types have one loop, and
// all quantized types share another. The layout is told in float_format.h.
#ifndef PHALANX_KERNELS_CPU_AVX2_WEIGHTS_H_
#define PHALANX_KERNELS_CPU_AVX2_WEIGHTS_H_

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/avx2.h"
#include "kernels/cpu/float_format.h"

namespace phalanx::kernels::avx2 {

// Float types: one input a block.
struct F32 {
  static constexpr DType kType = DType::kF32;
  static PHALANX_AVX2_INLINE __m256 Load(const std::byte* block) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(block));
  }
};
struct F16 {
  static constexpr DType kType = DType::kF16;
  static PHALANX_AVX2_INLINE __m256 Load(const std::byte* block) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block)));
  }
};
struct BF16 {
  static constexpr DType kType = DType::kBF16;
  static PHALANX_AVX2_INLINE __m256 Load(const std::byte* block) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
};

// Quantized types: a weight is d * field + m. The product is exact in float32, so a fused
// multiply-add gives the same bits as a product and a sum after it, which is what Dequantize does.
// Fields of 2, 4 or 8 bits are read where they stand in their words. Codes of other sizes, and
// codes that stand for levels in a table, are first widened to fields of 8 bits.
template <DType kDType>
struct Quantized {
  static constexpr DType kType = kDType;
  static constexpr int kLowBits = LowPlaneBits(kDType);
  static constexpr int kHighBits = HighPlaneBits(kDType);
  static constexpr bool kHasTable = kDType == DType::kIQ4_NL;
  static constexpr bool kWidened = kHighBits > 0 || kHasTable;
  static constexpr int kFieldBits = kWidened ? 8 : kLowBits;
  static constexpr int kSubBlocks = BlockElements(kDType) / SubBlockElements(kDType);
  // The field that stands for level zero. Levels out of a table are from -127 to 113; 128 is added
  // to make them unsigned.
  static constexpr int kFieldOfZero = kHasTable ? 128 : CodeOfZero(kDType);

  // Scale and minimum of sub-block `s`.
  static PHALANX_AVX2_INLINE void LoadScale(const std::byte* block, int64_t s, __m256& d,
                                            __m256& m) {
    d = HasMinimum(kDType) ? F16::Load(block) : F32::Load(block);
    if constexpr (HasMinimum(kDType)) m = F16::Load(block + 16);
    if constexpr (kSubBlocks > 1) {
      const std::byte* at = block + 32 + s * kGroupRows;
      const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(at));
      if constexpr (kDType == DType::kQ2_K) {
        const __m256i both = _mm256_cvtepu8_epi32(bytes);
        d = _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_and_si256(both, _mm256_set1_epi32(15))));
        m = _mm256_mul_ps(m, _mm256_cvtepi32_ps(_mm256_srli_epi32(both, 4)));
      } else {
        d = _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)));
        if constexpr (HasMinimum(kDType)) {
          const __m128i minimums = _mm_loadl_epi64(
              reinterpret_cast<const __m128i*>(at + kSubBlocks * int64_t{kGroupRows}));
          m = _mm256_mul_ps(m, _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(minimums)));
        }
      }
    }
    // Without a minimum a weight is d * (field - field of zero), written as a product and a sum.
    if constexpr (!HasMinimum(kDType)) {
      m = _mm256_mul_ps(d, _mm256_set1_ps(static_cast<float>(-kFieldOfZero)));
    }
  }

  // Word row `row` of an 8-bit plane holds input 8 b + row in byte b of each word. Returns such
  // words with the kBits bits of these inputs that `words`, a plane of kBits bits, holds, moved to
  // bit kAt of each byte. Since kBits divides 8, the four inputs lie in one word row of that plane
  // too, eight bits apart, and one shift moves all four.
  template <int kBits, int kAt>
  static PHALANX_AVX2_INLINE __m256i PlaneBytes(const __m256i* words, int row) {
    const __m256i word = _mm256_loadu_si256(words + row % kBits);
    const int shift = row / kBits * kBits - kAt;
    const __m256i moved =
        shift < 0 ? _mm256_slli_epi32(word, -shift) : _mm256_srli_epi32(word, shift);
    return _mm256_and_si256(moved, _mm256_set1_epi8(((1 << kBits) - 1) << kAt));
  }

  // Makes an 8-bit plane of the low and the high plane of a unit.
  static PHALANX_AVX2_INLINE void Widen(const __m256i* words, __m256i* bytes) {
#pragma GCC unroll 8
    for (int row = 0; row < 8; ++row) {
      __m256i fields = PlaneBytes<kLowBits, 0>(words, row);
      if constexpr (kHighBits > 0) {
        fields = _mm256_or_si256(fields, PlaneBytes<kHighBits, kLowBits>(words + kLowBits, row));
      }
      if constexpr (kHasTable) fields = _mm256_shuffle_epi8(TableOfLevels(), fields);
      _mm256_store_si256(bytes + row, fields);
    }
  }

  static PHALANX_AVX2_INLINE __m256i TableOfLevels() {
    const __m128i levels = _mm_loadu_si128(reinterpret_cast<const __m128i*>(kIq4NlLevels.data()));
    return _mm256_broadcastsi128_si256(_mm_xor_si128(levels, _mm_set1_epi8(-128)));
  }
};

// Calls f with F32, F16, BF16 or Quantized<dtype>.
template <typename Function>
void WithWeights(DType dtype, Function f) {
  switch (dtype) {
    case DType::kF32:
      return f(F32());
    case DType::kF16:
      return f(F16());
    case DType::kBF16:
      return f(BF16());
    case DType::kQ4_0:
      return f(Quantized<DType::kQ4_0>());
    case DType::kQ4_1:
      return f(Quantized<DType::kQ4_1>());
    case DType::kQ5_0:
      return f(Quantized<DType::kQ5_0>());
    case DType::kQ5_1:
      return f(Quantized<DType::kQ5_1>());
    case DType::kQ8_0:
      return f(Quantized<DType::kQ8_0>());
    case DType::kQ2_K:
      return f(Quantized<DType::kQ2_K>());
    case DType::kQ3_K:
      return f(Quantized<DType::kQ3_K>());
    case DType::kQ4_K:
      return f(Quantized<DType::kQ4_K>());
    case DType::kQ5_K:
      return f(Quantized<DType::kQ5_K>());
    case DType::kQ6_K:
      return f(Quantized<DType::kQ6_K>());
    case DType::kIQ4_NL:
      return f(Quantized<DType::kIQ4_NL>());
  }
}

// The fewest rows for which a panel is unpacked to memory. Fewer rows would not win back the time
// that it takes to store the weights and to load them again.
inline constexpr int64_t kUnpackRows = 5;

// Calls visit(k + i, weights of each group) for the inputs i in [0, kUnitInputs) of unit `unit` of
// the given packed blocks, in ascending order.
template <typename Type, int kGroups, typename Visit>
PHALANX_AVX2_INLINE void ForEachInputOfUnit(const std::byte* const (&blocks)[kGroups], int64_t unit,
                                            int64_t k, Visit& visit) {
  constexpr int kBits = Type::kFieldBits;
  constexpr int kFields = 32 / kBits;
  constexpr int kScales = kUnitInputs / SubBlockElements(Type::kType);
  __m256 d[kGroups];
  __m256 m[kGroups];
  const __m256i* words[kGroups];
  alignas(32) __m256i bytes[kGroups][8];
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) {
    Type::LoadScale(blocks[g], unit * kScales, d[g], m[g]);
    words[g] = reinterpret_cast<const __m256i*>(blocks[g] + PackedScaleBytes(Type::kType)) +
               unit * CodeBits(Type::kType);
    if constexpr (Type::kWidened) {
      Type::Widen(words[g], bytes[g]);
      words[g] = bytes[g];
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < kFields; ++p) {
    // Tells the compiler that memory may have changed, so that it loads the words anew for each p.
    // It would otherwise keep them in registers and push the sums out of these.
    asm volatile("" : : "r"(words[0]) : "memory");
    // The second half of the unit is a sub-block of its own, with other scales. Its first fields
    // stand at bit 16 of their words and are converted there, hence the factor 2^-16.
    if (kScales == 2 && p == kFields / 2) {
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) {
        Type::LoadScale(blocks[g], unit * kScales + 1, d[g], m[g]);
        d[g] = _mm256_mul_ps(d[g], _mm256_set1_ps(0x1p-16f));
      }
    }
    // A field is converted where it stands in its word, which makes it 2^(p * bits) times too
    // large, and d is made smaller by as much: that saves a shift for each weight and is exact.
    // Only the highest field has to be shifted, since its top bit would be taken for a sign.
    const bool last = p == kFields - 1;
    const __m256i mask = _mm256_set1_epi32(static_cast<int>(((1u << kBits) - 1) << (p * kBits)));
#pragma GCC unroll 8
    for (int i = 0; i < kBits; ++i) {
      __m256 weights[kGroups];
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) {
        const __m256i word = _mm256_loadu_si256(words[g] + i);
        const __m256i field =
            last ? _mm256_srli_epi32(word, 32 - kBits) : _mm256_and_si256(word, mask);
        weights[g] = _mm256_fmadd_ps(d[g], _mm256_cvtepi32_ps(field), m[g]);
      }
      visit(k + p * kBits + i, weights);
    }
    // Each p makes d smaller by the bits of a field. Before the last p, whose fields are shifted
    // down to bit 0, d goes back to its full size.
    const float next =
        p < kFields - 2 ? 1.0f / (1 << kBits) : static_cast<float>(1 << (kBits * (kFields - 2)));
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) d[g] = _mm256_mul_ps(d[g], _mm256_set1_ps(next));
  }
}

// Calls visit(k, weights of each group) for the inputs k in [0, inputs) in ascending order;
// `groups` point at the block of input 0.
template <typename Type, int kGroups, typename Visit>
PHALANX_AVX2_INLINE void ForEachInput(const std::byte* const (&groups)[kGroups], int64_t inputs,
                                      Visit& visit) {
  constexpr int64_t kBlockBytes = PackedBlockBytes(Type::kType);
  constexpr int64_t kBlock = BlockElements(Type::kType);
  if constexpr (kBlock == 1) {
#pragma GCC unroll 4
    for (int64_t k = 0; k < inputs; ++k) {
      __m256 weights[kGroups];
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) weights[g] = Type::Load(groups[g] + k * kBlockBytes);
      visit(k, weights);
    }
  } else {
    for (int64_t k = 0; k < inputs; k += kUnitInputs) {
      const std::byte* blocks[kGroups];
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) blocks[g] = groups[g] + k / kBlock * kBlockBytes;
      ForEachInputOfUnit<Type, kGroups>(blocks, k % kBlock / kUnitInputs, k, visit);
    }
  }
}

}  // namespace phalanx::kernels::avx2

#endif  // PHALANX_KERNELS_CPU_AVX2_WEIGHTS_H_
