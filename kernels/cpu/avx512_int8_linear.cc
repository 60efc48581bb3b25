#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/avx512.h"
#include "kernels/cpu/avx512_int8_weights.h"
#include "kernels/cpu/avx512_kernels.h"
#include "kernels/cpu/int8_layout.h"

// Products by vpdpbusd: each lane of a vector takes four codes of one output and four levels of a
// row, and adds their products to its sum. int8_layout.h has the arithmetic.
namespace phalanx::kernels::avx512 {
namespace {

using int8::kBlockInputs;
using int8::kUnitWords;
using int8::kVectorBytes;

// Some rows of a tile of inputs.
struct Rows {
  const std::byte* levels;  // Of the first row in block 0.
  const std::byte* scales;
  const std::byte* sums;
  int64_t tile_rows;
};

PHALANX_AVX512_INLINE __m512i Broadcast32(const std::byte* from) {
  int32_t value;
  std::memcpy(&value, from, sizeof(value));
  return _mm512_set1_epi32(value);
}
PHALANX_AVX512_INLINE __m512 BroadcastFloat(const std::byte* from) {
  float value;
  std::memcpy(&value, from, sizeof(value));
  return _mm512_set1_ps(value);
}

// The dot products of words [kFirst, kEnd) of a unit.
template <DType kType, int kGroups, int kRows, int kFirst, int kEnd>
PHALANX_AVX512_INLINE void Dot(const std::byte* const (&units)[kGroups], const std::byte* levels,
                               __m512i (&dots)[kGroups][kRows]) {
  if constexpr (kFirst < kEnd) {
    __m512i codes[kGroups];
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) codes[g] = Codes<kType, kFirst>(units[g]);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m512i word = Broadcast32(levels + r * kBlockInputs + kFirst * 4);
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) {
        dots[g][r] = _mm512_dpbusd_epi32(dots[g][r], codes[g], word);
      }
    }
    Dot<kType, kGroups, kRows, kFirst + 1, kEnd>(units, levels, dots);
  }
}

// Adds sub-block kPart of a unit to the outputs.
template <DType kType, int kGroups, int kRows, int kPart>
PHALANX_AVX512_INLINE void AddSubBlock(const std::byte* const (&units)[kGroups],
                                       const std::byte* const (&scales)[kGroups], int64_t sub_block,
                                       const Rows& x, int64_t b,
                                       __m512 (&outputs)[kGroups][kRows]) {
  constexpr int kParts = kBlockInputs / SubBlockElements(kType);
  constexpr int kWords = kUnitWords / kParts;
  const std::byte* const sums = x.sums + (b * kParts + kPart) * x.tile_rows * 4;
  __m512i dots[kGroups][kRows];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    // Types without a minimum begin at what their zero takes away.
    const __m512i start = HasMinimum(kType) ? _mm512_setzero_si512() : Broadcast32(sums + r * 4);
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) dots[g][r] = start;
  }
  Dot<kType, kGroups, kRows, kPart * kWords, (kPart + 1) * kWords>(
      units, x.levels + b * x.tile_rows * kBlockInputs, dots);
  const std::byte* const row_scales = x.scales + b * x.tile_rows * 4;
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) {
    __m512 d = {};
    __m512 m = {};
    LoadScale<kType>(scales[g], sub_block, d, m);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m512 scale = _mm512_mul_ps(d, BroadcastFloat(row_scales + r * 4));
      outputs[g][r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[g][r]), scale, outputs[g][r]);
      if constexpr (HasMinimum(kType)) {
        outputs[g][r] = _mm512_fmadd_ps(m, BroadcastFloat(sums + r * 4), outputs[g][r]);
      }
    }
  }
}

template <int kGroups, int kRows>
PHALANX_AVX512_INLINE void Store(const LinearTask& task, int64_t group, int64_t row,
                                 const __m512 (&outputs)[kGroups][kRows]) {
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) {
    const int64_t output = (group + g) * int8::kGroupRows;
    const int64_t lanes = task.weights->out_features - output;
    const auto mask = static_cast<__mmask16>(lanes >= 16 ? 0xffff : (1 << lanes) - 1);
    const __m512 bias = task.bias == nullptr ? _mm512_setzero_ps()
                                             : _mm512_maskz_loadu_ps(mask, task.bias + output);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      float* const to = task.out + (row + r) * task.out_stride + output;
      const __m512 sum = task.bias == nullptr ? outputs[g][r] : _mm512_add_ps(outputs[g][r], bias);
      _mm512_mask_storeu_ps(to, mask, sum);
    }
  }
}

// Groups that pass by all rows before the next ones do.
constexpr int64_t kStepGroups = 4;

// All inputs of kGroups groups and kRows rows. kReadsAhead: the weights of the next step too.
template <DType kType, int kGroups, int kRows, bool kReadsAhead>
PHALANX_AVX512 __attribute__((noinline)) void Multiply(const LinearTask& task, int64_t group,
                                                       int64_t row, const Rows& x) {
  const int64_t in_features = task.weights->in_features;
  const size_t group_bytes = int8::GroupBytes(kType, in_features);
  const size_t ahead = int8::BytesAhead(kType, in_features, kStepGroups, kStepGroups);
  const std::byte* units[kGroups];
  const std::byte* scales[kGroups];
  __m512 outputs[kGroups][kRows];
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) {
    units[g] = task.weights->data + (group + g) * group_bytes;
    scales[g] = units[g] + int8::CodeBytes(kType, in_features);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) outputs[g][r] = _mm512_setzero_ps();
  }
  constexpr int kUnits = int8::UnitsPerBlock(kType);
  constexpr int kParts = kBlockInputs / SubBlockElements(kType);
  int64_t b = 0;
  for (int64_t block = 0; block < in_features / BlockElements(kType); ++block) {
    for (int64_t unit = 0; unit < kUnits; ++unit, ++b) {
      AddSubBlock<kType, kGroups, kRows, 0>(units, scales, unit * kParts, x, b, outputs);
      if constexpr (kParts == 2) {
        AddSubBlock<kType, kGroups, kRows, 1>(units, scales, unit * kParts + 1, x, b, outputs);
      }
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) {
        if constexpr (kReadsAhead) int8::ReadAhead(units[g] + ahead, int8::UnitBytes(kType));
        units[g] += int8::UnitBytes(kType);
      }
    }
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) {
      if constexpr (kReadsAhead) int8::ReadAhead(scales[g] + ahead, int8::ScaleBytes(kType));
      scales[g] += int8::ScaleBytes(kType);
    }
  }
  Store<kGroups, kRows>(task, group, row, outputs);
}

// Groups and rows that are multiplied together. Each level is loaded once for all groups, and each
// code once for all rows; two groups and four rows are 8 dot products and 8 outputs of the 32
// registers. A single row takes four groups, so that there are enough sums that do not wait for
// each other to keep the processor busy.
constexpr int kMostRows = 4;
constexpr int GroupsFor(int rows) { return rows == 1 ? 4 : 2; }

template <DType kType, int kRows, bool kReadsAhead>
PHALANX_AVX512 void RunRows(const LinearTask& task, int64_t group_begin, int64_t group_end,
                            int64_t row, const Rows& x) {
  constexpr int kGroups = GroupsFor(kRows);
  int64_t group = group_begin;
  for (; group + kGroups <= group_end; group += kGroups) {
    Multiply<kType, kGroups, kRows, kReadsAhead>(task, group, row, x);
  }
  if (kGroups > 2 && group + 2 <= group_end) {
    Multiply<kType, 2, kRows, kReadsAhead>(task, group, row, x);
    group += 2;
  }
  for (; group < group_end; ++group) Multiply<kType, 1, kRows, kReadsAhead>(task, group, row, x);
}

template <DType kType>
void RunType(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  using RowsFunction = void (*)(const LinearTask&, int64_t, int64_t, int64_t, const Rows&);
  // Of 1 to kMostRows rows, without and with reading ahead.
  static constexpr RowsFunction kByRows[2][kMostRows] = {
      {RunRows<kType, 1, false>, RunRows<kType, 2, false>, RunRows<kType, 3, false>,
       RunRows<kType, 4, false>},
      {RunRows<kType, 1, true>, RunRows<kType, 2, true>, RunRows<kType, 3, true>,
       RunRows<kType, 4, true>}};
  const int8::TileLayout layout = {task.weights->in_features, SubBlockElements(kType)};
  const bool has_ahead =
      int8::BytesAhead(kType, task.weights->in_features, kStepGroups, kStepGroups) > 0;
  // The weights of a few groups stay in the second-level cache while all rows pass by.
  for (int64_t group = group_begin; group < group_end; group += kStepGroups) {
    const int64_t end = std::min(group + kStepGroups, group_end);
    for (int64_t tile = 0; tile < int8::Tiles(task.rows); ++tile) {
      const int64_t tile_rows = int8::TileRows(task.rows, tile);
      const std::byte* const data = task.prepared + layout.TileOffset(tile);
      // Of about the same height: 5 rows are cut into 3 + 2.
      const int64_t parts = (tile_rows + kMostRows - 1) / kMostRows;
      const int64_t most = (tile_rows + parts - 1) / parts;
      for (int64_t r = 0; r < tile_rows; r += most) {
        const int64_t rows = std::min<int64_t>(most, tile_rows - r);
        const Rows x = {data + r * kBlockInputs, data + layout.ScalesOffset(tile_rows) + r * 4,
                        data + layout.SumsOffset(tile_rows) + r * 4, tile_rows};
        const int64_t row = tile * int8::kTileRows + r;
        const bool reads_ahead = has_ahead && row + rows == task.rows;
        kByRows[reads_ahead][rows - 1](task, group, end, row, x);
      }
    }
  }
}

}  // namespace

void LinearInt8(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  int8::WithQuantizedType(task.weights->dtype, [&](auto type) {
    RunType<decltype(type)::value>(task, group_begin, group_end);
  });
}

}  // namespace phalanx::kernels::avx512
