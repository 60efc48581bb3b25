// Products of bytes with vectors of 256 bits. They are templates over the instructions that sum up
// products of bytes: AVX2's, or a dot product of four. int8_layout.h has the arithmetic.
#ifndef PHALANX_KERNELS_CPU_AVX2_INT8_LINEAR_H_
#define PHALANX_KERNELS_CPU_AVX2_INT8_LINEAR_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/cpu/avx2.h"
#include "kernels/cpu/avx2_int8_weights.h"
#include "kernels/cpu/int8_layout.h"
#include "kernels/cpu/linear_format.h"

namespace phalanx::kernels::avx2::int8_linear {

using int8::kBlockInputs;
using int8::kUnitWords;

// --- Dot products ---

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
template <DType kType, int kRows, int kFirst, int kEnd, typename Weights>
PHALANX_AVX2_INLINE void AddPairs(const Weights& weights, const std::byte* levels,
                                  __m256i (&pairs)[kHalves][kRows]) {
  if constexpr (kFirst < kEnd) {
    __m256i codes[kHalves];
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) codes[h] = weights.template Codes<kFirst>(h);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m256i word = Broadcast32(levels + r * kBlockInputs + kFirst * 4);
#pragma GCC unroll 2
      for (int h = 0; h < kHalves; ++h) {
        pairs[h][r] = _mm256_add_epi16(pairs[h][r], PairProducts<kType>(codes[h], word));
        // Keeps the compiler from adding in another order: it would make all products of a unit
        // first, which do not fit the registers.
        asm("" : "+x"(pairs[h][r]));
      }
    }
    AddPairs<kType, kRows, kFirst + 1, kEnd>(weights, levels, pairs);
  }
}

// Adds the dot products of words [kFirst, kEnd) of a unit by pairs.
template <DType kType, int kRows, int kFirst, int kEnd, typename Weights>
PHALANX_AVX2_INLINE void DotByPairs(const Weights& weights, const std::byte* levels,
                                    __m256i (&dots)[kHalves][kRows]) {
  if constexpr (kFirst < kEnd) {
    constexpr int kStop = std::min(kEnd, kFirst + WordsIn16Bits(kType));
    __m256i pairs[kHalves][kRows];
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) pairs[h][r] = _mm256_setzero_si256();
    }
    AddPairs<kType, kRows, kFirst, kStop>(weights, levels, pairs);
    const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        dots[h][r] = _mm256_add_epi32(dots[h][r], _mm256_madd_epi16(pairs[h][r], ones));
        asm("" : "+x"(dots[h][r]));  // As in AddPairs.
      }
    }
    DotByPairs<kType, kRows, kStop, kEnd>(weights, levels, dots);
  }
}

// The same by dot products of four.
template <typename Sums, int kRows, int kFirst, int kEnd, typename Weights>
PHALANX_AVX2_INLINE void DotByFours(const Weights& weights, const std::byte* levels,
                                    __m256i (&dots)[kHalves][kRows]) {
  if constexpr (kFirst < kEnd) {
    __m256i codes[kHalves];
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) codes[h] = weights.template Codes<kFirst>(h);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m256i word = Broadcast32(levels + r * kBlockInputs + kFirst * 4);
#pragma GCC unroll 2
      for (int h = 0; h < kHalves; ++h) dots[h][r] = Sums::Add(dots[h][r], codes[h], word);
    }
    DotByFours<Sums, kRows, kFirst + 1, kEnd>(weights, levels, dots);
  }
}

// --- Outputs ---

// Adds sub-block kPart of the unit at hand, whose inputs are block b, to the outputs.
template <typename Sums, DType kType, int kRows, int kPart, typename Weights>
PHALANX_AVX2_INLINE void AddSubBlock(const Weights& weights, const Rows& x, int64_t b,
                                     __m256 (&outputs)[kHalves][kRows]) {
  constexpr int kWords = kUnitWords / kParts<kType>;
  // Signed levels have no zero to take away.
  constexpr bool kStartsAtZero = HasMinimum(kType) || HasSignedLevels<Sums>(kType);
  const std::byte* const sums = x.sums + (b * kParts<kType> + kPart) * x.tile_rows * 4;
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
    DotByFours<Sums, kRows, kFirst, kFirst + kWords>(weights, levels, dots);
  } else {
    DotByPairs<kType, kRows, kFirst, kFirst + kWords>(weights, levels, dots);
  }
  const std::byte* const row_scales = x.scales + b * x.tile_rows * 4;
#pragma GCC unroll 2
  for (int h = 0; h < kHalves; ++h) {
    __m256 d = {};
    __m256 m = {};
    weights.Scale(h, kPart, d, m);
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

// Where some outputs stand, and the blocks of inputs that are added to them.
struct Place {
  int64_t group;
  int64_t row;
  int64_t block_begin;
  int64_t block_end;
};

// The sums over the blocks before block_begin.
template <int kRows>
PHALANX_AVX2_INLINE void Load(const LinearTask& task, const Place& at,
                              __m256 (&outputs)[kHalves][kRows]) {
#pragma GCC unroll 2
  for (int h = 0; h < kHalves; ++h) {
    const int64_t first = at.group * int8::kGroupRows + h * kLanes;
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      outputs[h][r] = at.block_begin == 0
                          ? _mm256_setzero_ps()
                          : LoadFirst(task.out + (at.row + r) * task.out_stride + first,
                                      task.weights->out_features - first);
    }
  }
}

template <int kRows>
PHALANX_AVX2_INLINE void Store(const LinearTask& task, const Place& at,
                               const __m256 (&outputs)[kHalves][kRows]) {
  const bool has_bias =
      task.bias != nullptr && at.block_end == task.weights->in_features / kBlockInputs;
#pragma GCC unroll 2
  for (int h = 0; h < kHalves; ++h) {
    const int64_t first = at.group * int8::kGroupRows + h * kLanes;
    const int64_t lanes = task.weights->out_features - first;
    const __m256 bias = has_bias ? LoadFirst(task.bias + first, lanes) : _mm256_setzero_ps();
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m256 sum = has_bias ? _mm256_add_ps(outputs[h][r], bias) : outputs[h][r];
      StoreFirst(task.out + (at.row + r) * task.out_stride + first, lanes, sum);
    }
  }
}

// One group and kRows rows.
template <typename Sums, DType kType, int kRows, typename Weights>
PHALANX_AVX2 __attribute__((noinline)) void Multiply(const LinearTask& task, const Place& at,
                                                     const Rows& x, Weights weights) {
  __m256 outputs[kHalves][kRows];
  Load(task, at, outputs);
  for (int64_t b = at.block_begin; b < at.block_end; ++b, weights.Next()) {
    AddSubBlock<Sums, kType, kRows, 0>(weights, x, b, outputs);
    if constexpr (kParts<kType> == 2) AddSubBlock<Sums, kType, kRows, 1>(weights, x, b, outputs);
  }
  Store(task, at, outputs);
}

// The sums of pairs of more rows than this would not fit the 16 registers.
inline constexpr int kMostRows = 4;

template <typename Sums, DType kType, typename Weights>
void MultiplyRows(const LinearTask& task, const Place& at, int64_t rows, const Rows& x,
                  const Weights& weights) {
  using Function = void (*)(const LinearTask&, const Place&, const Rows&, Weights);
  static constexpr Function kByRows[kMostRows] = {
      Multiply<Sums, kType, 1, Weights>, Multiply<Sums, kType, 2, Weights>,
      Multiply<Sums, kType, 3, Weights>, Multiply<Sums, kType, 4, Weights>};
  kByRows[rows - 1](task, at, x, weights);
}

// Calls multiply(row, rows, x) for all rows, kMostRows or fewer at a time.
template <DType kType, typename Function>
void ForEachRows(const LinearTask& task, Function multiply) {
  const int8::TileLayout layout = {task.weights->in_features, SubBlockElements(kType)};
  for (int64_t tile = 0; tile < int8::Tiles(task.rows); ++tile) {
    const int64_t tile_rows = int8::TileRows(task.rows, tile);
    const std::byte* const data = task.prepared + layout.TileOffset(tile);
    // Of about the same height: 5 rows are cut into 3 + 2.
    const int64_t cuts = (tile_rows + kMostRows - 1) / kMostRows;
    const int64_t most = (tile_rows + cuts - 1) / cuts;
    for (int64_t r = 0; r < tile_rows; r += most) {
      const Rows x = {data + r * kBlockInputs, data + layout.ScalesOffset(tile_rows) + r * 4,
                      data + layout.SumsOffset(tile_rows) + r * 4, tile_rows};
      multiply(tile * int8::kTileRows + r, std::min(most, tile_rows - r), x);
    }
  }
}

// Groups between the one that is multiplied and the one that is read ahead, at most.
inline constexpr int kMostGroupsAhead = 4;

// With weights decoded in registers. The last rows read ahead.
template <typename Sums, DType kType>
void RunPacked(const LinearTask& task, int64_t group, size_t ahead) {
  ForEachRows<kType>(task, [&](int64_t row, int64_t rows, const Rows& x) {
    const Place at = {group, row, 0, task.weights->in_features / kBlockInputs};
    if (ahead > 0 && row + rows == task.rows) {
      const PackedWeights<Sums, kType, true> weights(*task.weights, group, ahead);
      MultiplyRows<Sums, kType>(task, at, rows, x, weights);
    } else {
      const PackedWeights<Sums, kType, false> weights(*task.weights, group, 0);
      MultiplyRows<Sums, kType>(task, at, rows, x, weights);
    }
  });
}

// With panels of decoded weights, which all rows use before the next one is made.
template <typename Sums, DType kType, bool kReadsAhead>
void RunPanels(const LinearTask& task, int64_t group, size_t ahead, Panel& panel) {
  const int64_t blocks = task.weights->in_features / kBlockInputs;
  PackedWeights<Sums, kType, kReadsAhead> packed(*task.weights, group, ahead);
  for (int64_t begin = 0; begin < blocks; begin += kPanelUnits) {
    const int64_t end = std::min<int64_t>(begin + kPanelUnits, blocks);
    FillPanel<kType>(packed, end - begin, panel);
    ForEachRows<kType>(task, [&](int64_t row, int64_t rows, const Rows& x) {
      MultiplyRows<Sums, kType>(task, {group, row, begin, end}, rows, x,
                                PanelWeights<kType>(panel));
    });
  }
}

// Fewer rows than this gain nothing from panels.
inline constexpr int64_t kFewestPanelRows = 32;

// The weights of a group stay in the caches while all rows pass by.
template <typename Sums, DType kType>
void RunType(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  const size_t ahead = int8::BytesAhead(kType, task.weights->in_features, 1, kMostGroupsAhead);
  if (task.rows >= kFewestPanelRows) {
    Panel panel;
    for (int64_t g = group_begin; g < group_end; ++g) {
      if (ahead > 0) {
        RunPanels<Sums, kType, true>(task, g, ahead, panel);
      } else {
        RunPanels<Sums, kType, false>(task, g, 0, panel);
      }
    }
    return;
  }
  for (int64_t g = group_begin; g < group_end; ++g) RunPacked<Sums, kType>(task, g, ahead);
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
