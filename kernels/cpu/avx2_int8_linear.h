// Products of bytes with vectors of 256 bits, which hold half of the outputs of a group. They are
// templates over the instructions that sum up products of bytes: AVX2's, or a dot product of four.
// int8_layout.h has the arithmetic.
#ifndef PHALANX_KERNELS_CPU_AVX2_INT8_LINEAR_H_
#define PHALANX_KERNELS_CPU_AVX2_INT8_LINEAR_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/cpu/avx2.h"
#include "kernels/cpu/int8_layout.h"
#include "kernels/cpu/linear_format.h"

namespace phalanx::kernels::avx2::int8_linear {

using int8::kBlockInputs;
using int8::kUnitWords;
using int8::kVectorBytes;

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

// --- Weights ---

PHALANX_AVX2_INLINE __m256i LoadLanes(const std::byte* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

// Word `kWord` of a plane of kBits bits, for half a group.
template <int kBits, int kWord>
PHALANX_AVX2_INLINE __m256i Field(const std::byte* plane) {
  const __m256i lanes = LoadLanes(plane + kWord * kBits / 8 * kVectorBytes);
  if constexpr (kBits == 8) return lanes;
  constexpr int kShift = kWord * kBits % 8;
  const __m256i shifted = kShift == 0 ? lanes : _mm256_srli_epi32(lanes, kShift);
  return _mm256_and_si256(shifted, _mm256_set1_epi8((1 << kBits) - 1));
}

// Whether weights are multiplied as signed levels. Codes of some types need all eight bits of an
// unsigned byte, so that two of their products do not fit into 16 bits.
template <typename Sums>
constexpr bool HasSignedLevels(DType dtype) {
  return !Sums::kDotsOfFour && int8::ZeroOf(dtype) == 128;
}

// Word `kWord` of a unit: codes, or what a table has for them; or signed levels.
template <typename Sums, DType kType, int kWord>
PHALANX_AVX2_INLINE __m256i Codes(const std::byte* unit) {
  constexpr int kLow = int8::LowBits(kType);
  constexpr int kHigh = int8::HighBits(kType);
  __m256i codes = Field<kLow, kWord>(unit);
  if constexpr (kHigh > 0) {
    const __m256i high = Field<kHigh, kWord>(unit + kLow * kVectorBytes);
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

// --- Products ---

// Products of bytes, added in pairs.
template <DType kType>
PHALANX_AVX2_INLINE __m256i PairProducts(__m256i codes, __m256i levels) {
  if constexpr (!HasSignedLevels<PairSums>(kType)) return _mm256_maddubs_epi16(codes, levels);
  // |code| * (level with the sign of the code): at most 2 * 128 * 127.
  return _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(levels, codes));
}

// Words whose pair products can be added in 16 bits.
constexpr int WordsIn16Bits(DType dtype) {
  const int largest = HasSignedLevels<PairSums>(dtype) ? 128 : (1 << CodeBits(dtype)) - 1;
  return std::numeric_limits<int16_t>::max() / (2 * 127 * largest);
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

// Some rows of a tile of inputs.
struct Rows {
  const std::byte* levels;  // Of the first row in block 0.
  const std::byte* scales;
  const std::byte* sums;
  int64_t tile_rows;
};

PHALANX_AVX2_INLINE __m256i Broadcast32(const std::byte* from) {
  int32_t value;
  std::memcpy(&value, from, sizeof(value));
  return _mm256_set1_epi32(value);
}
PHALANX_AVX2_INLINE __m256 BroadcastFloat(const std::byte* from) {
  float value;
  std::memcpy(&value, from, sizeof(value));
  return _mm256_set1_ps(value);
}

// Adds the products of words [kFirst, kEnd) of a unit to sums of pairs.
template <DType kType, int kHalves, int kRows, int kFirst, int kEnd>
PHALANX_AVX2_INLINE void AddPairs(const std::byte* unit, const std::byte* levels,
                                  __m256i (&pairs)[kHalves][kRows]) {
  if constexpr (kFirst < kEnd) {
    __m256i codes[kHalves];
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) {
      codes[h] = Codes<PairSums, kType, kFirst>(unit + h * kLaneBytes);
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m256i word = Broadcast32(levels + r * kBlockInputs + kFirst * 4);
#pragma GCC unroll 2
      for (int h = 0; h < kHalves; ++h) {
        pairs[h][r] = _mm256_add_epi16(pairs[h][r], PairProducts<kType>(codes[h], word));
      }
    }
    AddPairs<kType, kHalves, kRows, kFirst + 1, kEnd>(unit, levels, pairs);
  }
}

// Adds the dot products of words [kFirst, kEnd) of a unit by pairs.
template <DType kType, int kHalves, int kRows, int kFirst, int kEnd>
PHALANX_AVX2_INLINE void DotByPairs(const std::byte* unit, const std::byte* levels,
                                    __m256i (&dots)[kHalves][kRows]) {
  if constexpr (kFirst < kEnd) {
    constexpr int kStop = std::min(kEnd, kFirst + WordsIn16Bits(kType));
    __m256i pairs[kHalves][kRows];
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) pairs[h][r] = _mm256_setzero_si256();
    }
    AddPairs<kType, kHalves, kRows, kFirst, kStop>(unit, levels, pairs);
    const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        dots[h][r] = _mm256_add_epi32(dots[h][r], _mm256_madd_epi16(pairs[h][r], ones));
      }
    }
    DotByPairs<kType, kHalves, kRows, kStop, kEnd>(unit, levels, dots);
  }
}

// The same by dot products of four.
template <typename Sums, DType kType, int kHalves, int kRows, int kFirst, int kEnd>
PHALANX_AVX2_INLINE void DotByFours(const std::byte* unit, const std::byte* levels,
                                    __m256i (&dots)[kHalves][kRows]) {
  if constexpr (kFirst < kEnd) {
    __m256i codes[kHalves];
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) codes[h] = Codes<Sums, kType, kFirst>(unit + h * kLaneBytes);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m256i word = Broadcast32(levels + r * kBlockInputs + kFirst * 4);
#pragma GCC unroll 2
      for (int h = 0; h < kHalves; ++h) dots[h][r] = Sums::Add(dots[h][r], codes[h], word);
    }
    DotByFours<Sums, kType, kHalves, kRows, kFirst + 1, kEnd>(unit, levels, dots);
  }
}

// Adds sub-block kPart of a unit to the outputs.
template <typename Sums, DType kType, int kHalves, int kRows, int kPart>
PHALANX_AVX2_INLINE void AddSubBlock(const std::byte* unit, const std::byte* scales, int first_half,
                                     int64_t sub_block, const Rows& x, int64_t b,
                                     __m256 (&outputs)[kHalves][kRows]) {
  constexpr int kParts = kBlockInputs / SubBlockElements(kType);
  constexpr int kWords = kUnitWords / kParts;
  // Signed levels have no zero to take away.
  constexpr bool kStartsAtZero = HasMinimum(kType) || HasSignedLevels<Sums>(kType);
  const std::byte* const sums = x.sums + (b * kParts + kPart) * x.tile_rows * 4;
  __m256i dots[kHalves][kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    const __m256i start = kStartsAtZero ? _mm256_setzero_si256() : Broadcast32(sums + r * 4);
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) dots[h][r] = start;
  }
  const std::byte* const levels = x.levels + b * x.tile_rows * kBlockInputs;
  constexpr int kFirst = kPart * kWords;
  if constexpr (Sums::kDotsOfFour) {
    DotByFours<Sums, kType, kHalves, kRows, kFirst, kFirst + kWords>(unit, levels, dots);
  } else {
    DotByPairs<kType, kHalves, kRows, kFirst, kFirst + kWords>(unit, levels, dots);
  }
  const std::byte* const row_scales = x.scales + b * x.tile_rows * 4;
#pragma GCC unroll 2
  for (int h = 0; h < kHalves; ++h) {
    __m256 d = {};
    __m256 m = {};
    LoadScale<kType>(scales, first_half + h, sub_block, d, m);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m256 scale = _mm256_mul_ps(d, BroadcastFloat(row_scales + r * 4));
      outputs[h][r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[h][r]), scale, outputs[h][r]);
      if constexpr (HasMinimum(kType)) {
        outputs[h][r] = _mm256_fmadd_ps(m, BroadcastFloat(sums + r * 4), outputs[h][r]);
      }
    }
  }
}

template <int kHalves, int kRows>
PHALANX_AVX2_INLINE void Store(const LinearTask& task, int64_t output, int64_t row,
                               const __m256 (&outputs)[kHalves][kRows]) {
#pragma GCC unroll 2
  for (int h = 0; h < kHalves; ++h) {
    const int64_t first = output + h * kLanes;
    const int64_t lanes = task.weights->out_features - first;
    const __m256 bias =
        task.bias == nullptr ? _mm256_setzero_ps() : LoadFirst(task.bias + first, lanes);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m256 sum = task.bias == nullptr ? outputs[h][r] : _mm256_add_ps(outputs[h][r], bias);
      StoreFirst(task.out + (row + r) * task.out_stride + first, lanes, sum);
    }
  }
}

// Groups between the one that is multiplied and the one that is read ahead.
inline constexpr int kGroupsAhead = 4;

// All inputs of kHalves halves of a group and kRows rows. kReadsAhead: the weights of a later group
// too.
template <typename Sums, DType kType, int kHalves, int kRows, bool kReadsAhead>
PHALANX_AVX2 __attribute__((noinline)) void Multiply(const LinearTask& task, int64_t group,
                                                     int first_half, int64_t row, const Rows& x) {
  const int64_t in_features = task.weights->in_features;
  const std::byte* const data = task.weights->data + group * int8::GroupBytes(kType, in_features);
  const std::byte* unit = data + first_half * kLaneBytes;
  const std::byte* scales = data + int8::CodeBytes(kType, in_features);
  const size_t ahead = int8::BytesAhead(kType, in_features, kGroupsAhead);
  __m256 outputs[kHalves][kRows];
#pragma GCC unroll 2
  for (int h = 0; h < kHalves; ++h) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) outputs[h][r] = _mm256_setzero_ps();
  }
  constexpr int kUnits = int8::UnitsPerBlock(kType);
  constexpr int kParts = kBlockInputs / SubBlockElements(kType);
  int64_t b = 0;
  for (int64_t block = 0; block < in_features / BlockElements(kType); ++block) {
    for (int64_t u = 0; u < kUnits; ++u, ++b, unit += int8::UnitBytes(kType)) {
      const int64_t part = u * kParts;
      AddSubBlock<Sums, kType, kHalves, kRows, 0>(unit, scales, first_half, part, x, b, outputs);
      if constexpr (kParts == 2) {
        AddSubBlock<Sums, kType, kHalves, kRows, 1>(unit, scales, first_half, part + 1, x, b,
                                                    outputs);
      }
      if constexpr (kReadsAhead) int8::ReadAhead(unit + ahead, int8::UnitBytes(kType));
    }
    if constexpr (kReadsAhead) int8::ReadAhead(scales + ahead, int8::ScaleBytes(kType));
    scales += int8::ScaleBytes(kType);
  }
  Store<kHalves, kRows>(task, group * int8::kGroupRows + first_half * kLanes, row, outputs);
}

// More rows than this would not fit the 16 registers.
inline constexpr int64_t kMostRows = 4;

template <typename Sums, DType kType, int kRows, bool kReadsAhead>
PHALANX_AVX2 void RunRows(const LinearTask& task, int64_t group, int64_t row, const Rows& x) {
  // Few rows take both halves at once, to have enough sums that do not wait for each other.
  if constexpr (kRows <= 2) {
    Multiply<Sums, kType, 2, kRows, kReadsAhead>(task, group, 0, row, x);
  } else {
    // Lines of weights have both halves: one of the two reads ahead.
    Multiply<Sums, kType, 1, kRows, kReadsAhead>(task, group, 0, row, x);
    Multiply<Sums, kType, 1, kRows, false>(task, group, 1, row, x);
  }
}

template <typename Sums, DType kType>
void RunType(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  using RowsFunction = void (*)(const LinearTask&, int64_t, int64_t, const Rows&);
  // Of 1 to kMostRows rows, without and with reading ahead.
  static constexpr RowsFunction kByRows[2][kMostRows] = {
      {RunRows<Sums, kType, 1, false>, RunRows<Sums, kType, 2, false>,
       RunRows<Sums, kType, 3, false>, RunRows<Sums, kType, 4, false>},
      {RunRows<Sums, kType, 1, true>, RunRows<Sums, kType, 2, true>, RunRows<Sums, kType, 3, true>,
       RunRows<Sums, kType, 4, true>}};
  const int8::TileLayout layout = {task.weights->in_features, SubBlockElements(kType)};
  const bool has_ahead = int8::BytesAhead(kType, task.weights->in_features, kGroupsAhead) > 0;
  // The weights of a group stay in the caches while all rows pass by.
  for (int64_t group = group_begin; group < group_end; ++group) {
    for (int64_t tile = 0; tile < int8::Tiles(task.rows); ++tile) {
      const int64_t tile_rows = int8::TileRows(task.rows, tile);
      const std::byte* const data = task.prepared + layout.TileOffset(tile);
      for (int64_t r = 0; r < tile_rows; r += kMostRows) {
        const int64_t rows = std::min(kMostRows, tile_rows - r);
        const Rows x = {data + r * kBlockInputs, data + layout.ScalesOffset(tile_rows) + r * 4,
                        data + layout.SumsOffset(tile_rows) + r * 4, tile_rows};
        const int64_t row = tile * int8::kTileRows + r;
        const bool reads_ahead = has_ahead && row + rows == task.rows;
        kByRows[reads_ahead][rows - 1](task, group, row, x);
      }
    }
  }
}

// LinearFormat::Run.
template <typename Sums>
void Run(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  int8::WithQuantizedType(task.weights->dtype, [&](auto type) {
    RunType<Sums, decltype(type)::value>(task, group_begin, group_end);
  });
}

}  // namespace phalanx::kernels::avx2::int8_linear

#endif  // PHALANX_KERNELS_CPU_AVX2_INT8_LINEAR_H_
