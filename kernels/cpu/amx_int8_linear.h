// Products of bytes by AMX's tiles, for many rows; int8_layout.h has the arithmetic. A template
// over the tiles, see amx_tiles.h.
//
// The shape of the work. Inputs and most weights have a scale for each 32 inputs, or weights for
// 16, so integers can be summed up over one such sub-block only; then they leave their tile, become
// floats and are scaled, by 3 or 4 vector instructions for 16 outputs of a row, whatever the shape.
// That, and not the tiles, sets the pace: for 16 x 16 outputs and 32 inputs 64 vector instructions,
// 32 cycles with two vector units, beside 16 cycles of the tiles. Dot products by vectors need 128
// instructions more, so tiles can be about three times as fast. To keep close to that bound:
// - The eight tiles are 2 groups of weights, 2 x 16 rows of levels and their 2 x 2 products, so
//   that each tile is used twice once it is loaded.
// - The products of one step are made before those of the step before it are scaled, with two
//   buffers that stay in the first-level cache: the tiles work while the vector units do.
// - Codes become bytes for one unit ahead, since a load of a tile has to wait until vectors that
//   were stored there have reached the cache; and once for up to kRowsAtOnce rows. The bytes are
//   signed, the zero of their type is taken off, so nothing is left to add to dot products.
// The tiles and the two buffers are also those of llama.cpp (ggml/src/ggml-cpu/amx/mmq.cpp).
#ifndef PHALANX_KERNELS_CPU_AMX_INT8_LINEAR_H_
#define PHALANX_KERNELS_CPU_AMX_INT8_LINEAR_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/amx_outputs.h"
#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/avx512.h"
#include "kernels/cpu/avx512_int8_weights.h"
#include "kernels/cpu/avx512_kernels.h"
#include "kernels/cpu/int8_layout.h"
#include "kernels/cpu/linear_format.h"

namespace phalanx::kernels::amx {

// Rows of a tile of prepared inputs (TileLayout), which is also a tile of levels.
inline constexpr int kTileRows = kMostTileRows;

// What is multiplied in a step: some groups of outputs and tiles of rows.
inline constexpr int kGroups = 2;
inline constexpr int kRowTiles = 2;
inline constexpr int kStepRows = kRowTiles * kTileRows;

// Rows that share the codes of a unit. Their outputs, 16 KiB, must stay in the first-level cache.
inline constexpr int kRowsAtOnce = 128;

static_assert(kLanes == int8::kGroupRows);

// The sums of a step.
struct alignas(64) StepDots {
  int32_t dots[kGroups][kRowTiles][kTileRows][kLanes];
};

// One unit of both groups, as bytes.
struct alignas(64) StepCodes {
  int8_t codes[kGroups][int8::kUnitWords][int8::kVectorBytes];
};

// Up to kRowsAtOnce rows and up to kGroups groups, with what multiplies them.
template <typename Tiles, DType kType>
class Chunk {
 public:
  // `rows` are whole steps, or what is left of the task, less than a step. `tiles` have been
  // configured by ConfigFor(rows).
  Chunk(Tiles& tiles, const LinearTask& task, int64_t group, int64_t groups, int64_t row,
        int64_t rows)
      : tiles_(tiles),
        task_(task),
        in_features_(task.weights->in_features),
        group_(group),
        groups_(groups),
        row_(row),
        rows_(rows) {
    const size_t group_bytes = int8::GroupBytes(kType, in_features_);
    const int8::TileLayout layout = {in_features_, SubBlockElements(kType), kTileRows};
    for (int64_t t = 0; t < RowTiles(); ++t) {
      const int64_t tile = row / kTileRows + t;
      const std::byte* const data = task.prepared + layout.TileOffset(tile);
      const int64_t n = int8::TileRows(task.rows, tile, kTileRows);
      inputs_[t] = {data, data + layout.ScalesOffset(n), data + layout.SumsOffset(n), n};
    }
    for (int64_t g = 0; g < groups; ++g) {
      units_[g] = task.weights->data + (group + g) * group_bytes;
      scales_[g] = units_[g] + int8::CodeBytes(kType, in_features_);
    }
  }

  static TileConfig ConfigFor(int64_t rows);
  PHALANX_AVX512 void Multiply();

 private:
  static constexpr int kParts = int8::kBlockInputs / SubBlockElements(kType);
  static constexpr int kPartWords = int8::kUnitWords / kParts;
  static constexpr int kPartBytes = kPartWords * 4;

  // Which tile is which.
  static constexpr int SumsTile(int g, int t) { return g * kRowTiles + t; }
  static constexpr int LevelsTile(int t) { return kGroups * kRowTiles + t; }
  static constexpr int CodesTile(int g) { return kGroups * kRowTiles + kRowTiles + g; }

  // A sub-block and some rows: tiles of rows from row_tile on.
  struct Step {
    int64_t unit;
    int part;
    int64_t row_tile;
  };

  // A tile of prepared inputs.
  struct Inputs {
    const std::byte* levels;
    const std::byte* scales;
    const std::byte* sums;
    int64_t rows;
  };

  int64_t Units() const { return in_features_ / int8::kBlockInputs; }
  int64_t RowTiles() const { return (rows_ + kTileRows - 1) / kTileRows; }

  // Of any unit; behind the last it does nothing.
  PHALANX_AVX512 void ExpandCodes(int64_t unit);
  void MultiplyTiles(const Step& step, StepDots& dots);
  template <int kRowTile>
  void MultiplyRowTile(const Step& step, StepDots& dots);
  PHALANX_AVX512 void AddScaled(const Step& step, const StepDots& dots);
  void StoreOutputs() const;

  Tiles& tiles_;
  const LinearTask& task_;
  const int64_t in_features_;
  const int64_t group_;
  const int64_t groups_;
  const int64_t row_;
  const int64_t rows_;
  Inputs inputs_[kRowsAtOnce / kTileRows];
  const std::byte* units_[kGroups] = {};
  const std::byte* scales_[kGroups] = {};
  StepCodes codes_[2];  // Of a unit and the next one.
  StepDots dots_[2];
  alignas(64) float outputs_[kGroups][kRowsAtOnce][kLanes];
};

template <typename Tiles, DType kType>
TileConfig Chunk<Tiles, kType>::ConfigFor(int64_t rows) {
  TileConfig config;
  const auto set = [&config](int tile, int64_t tile_rows, int64_t row_bytes) {
    config.rows[tile] = static_cast<uint8_t>(tile_rows);
    config.row_bytes[tile] = static_cast<uint16_t>(row_bytes);
  };
  for (int g = 0; g < kGroups; ++g) set(CodesTile(g), kPartWords, int8::kVectorBytes);
  for (int t = 0; t < kRowTiles; ++t) {
    // The last step of a task may have fewer rows, in its last tile, and no second tile.
    const int64_t tile_rows = std::min<int64_t>(rows - t * kTileRows, kTileRows);
    if (tile_rows <= 0) continue;
    set(LevelsTile(t), tile_rows, kPartBytes);
    for (int g = 0; g < kGroups; ++g) set(SumsTile(g, t), tile_rows, int8::kVectorBytes);
  }
  return config;
}

// Words from kFirst on of a unit of one group, as signed bytes.
template <DType kType, int kFirst>
PHALANX_AVX512_INLINE void ExpandWords(const std::byte* unit,
                                       int8_t (&to)[int8::kUnitWords][int8::kVectorBytes]) {
  static_assert(255 - int8::ZeroOf(kType) <= 127 || CodeBits(kType) < 8);
  if constexpr (kFirst < int8::kUnitWords) {
    const __m512i codes = avx512::Codes<kType, kFirst>(unit);
    const __m512i zero = _mm512_set1_epi8(static_cast<char>(int8::ZeroOf(kType)));
    _mm512_store_si512(to[kFirst], _mm512_sub_epi8(codes, zero));
    ExpandWords<kType, kFirst + 1>(unit, to);
  }
}

template <typename Tiles, DType kType>
PHALANX_AVX512 void Chunk<Tiles, kType>::ExpandCodes(int64_t unit) {
  if (unit == Units()) return;
  for (int64_t g = 0; g < groups_; ++g) {
    ExpandWords<kType, 0>(units_[g] + unit * int8::UnitBytes(kType), codes_[unit % 2].codes[g]);
  }
}

// The tiles of codes hold what this step multiplies with.
template <typename Tiles, DType kType>
template <int kRowTile>
void Chunk<Tiles, kType>::MultiplyRowTile(const Step& step, StepDots& to) {
  const Inputs& x = inputs_[step.row_tile + kRowTile];
  tiles_.template Load<LevelsTile(kRowTile)>(
      x.levels + step.unit * x.rows * int8::kBlockInputs + step.part * kPartBytes,
      int8::kBlockInputs);
  tiles_.template Zero<SumsTile(0, kRowTile)>();
  tiles_.template AddDots<SumsTile(0, kRowTile), LevelsTile(kRowTile), CodesTile(0)>();
  if (groups_ == kGroups) {
    tiles_.template Zero<SumsTile(1, kRowTile)>();
    tiles_.template AddDots<SumsTile(1, kRowTile), LevelsTile(kRowTile), CodesTile(1)>();
    tiles_.template Store<SumsTile(1, kRowTile)>(to.dots[1][kRowTile], int8::kVectorBytes);
  }
  tiles_.template Store<SumsTile(0, kRowTile)>(to.dots[0][kRowTile], int8::kVectorBytes);
}

template <typename Tiles, DType kType>
void Chunk<Tiles, kType>::MultiplyTiles(const Step& step, StepDots& to) {
  static_assert(kGroups == 2 && kRowTiles == 2);
  if (step.row_tile == 0) {
    const int word = step.part * kPartWords;
    const StepCodes& from = codes_[step.unit % 2];
    tiles_.template Load<CodesTile(0)>(from.codes[0][word], int8::kVectorBytes);
    if (groups_ == kGroups) {
      tiles_.template Load<CodesTile(1)>(from.codes[1][word], int8::kVectorBytes);
    }
  }
  MultiplyRowTile<0>(step, to);
  if (step.row_tile + 1 < RowTiles()) MultiplyRowTile<1>(step, to);
}

PHALANX_AVX512_INLINE __m512 BroadcastFloat(const std::byte* from, int64_t index) {
  float value;
  std::memcpy(&value, from + index * static_cast<int64_t>(sizeof(value)), sizeof(value));
  return _mm512_set1_ps(value);
}

template <typename Tiles, DType kType>
PHALANX_AVX512 void Chunk<Tiles, kType>::AddScaled(const Step& step, const StepDots& from) {
  constexpr int kUnits = int8::UnitsPerBlock(kType);
  const int64_t block = step.unit / kUnits;
  const int64_t sub_block = step.unit % kUnits * kParts + step.part;
  const int64_t row_tiles = std::min<int64_t>(RowTiles() - step.row_tile, kRowTiles);
  for (int64_t g = 0; g < groups_; ++g) {
    __m512 d = {};
    __m512 m = {};
    avx512::LoadScale<kType>(scales_[g] + block * int8::ScaleBytes(kType), sub_block, d, m);
    for (int64_t t = 0; t < row_tiles; ++t) {
      const Inputs& x = inputs_[step.row_tile + t];
      const std::byte* const scales = x.scales + step.unit * x.rows * 4;
      const std::byte* const sums = x.sums + (step.unit * kParts + step.part) * x.rows * 4;
      float(*const outputs)[kLanes] = &outputs_[g][(step.row_tile + t) * kTileRows];
#pragma GCC unroll 4
      for (int64_t r = 0; r < x.rows; ++r) {
        const __m512 dots = _mm512_cvtepi32_ps(_mm512_load_si512(from.dots[g][t][r]));
        const __m512 scale = _mm512_mul_ps(d, BroadcastFloat(scales, r));
        __m512 output = _mm512_fmadd_ps(dots, scale, _mm512_load_ps(outputs[r]));
        if constexpr (HasMinimum(kType)) {
          output = _mm512_fmadd_ps(m, BroadcastFloat(sums, r), output);
        }
        _mm512_store_ps(outputs[r], output);
      }
    }
  }
}

template <typename Tiles, DType kType>
void Chunk<Tiles, kType>::StoreOutputs() const {
  for (int64_t g = 0; g < groups_; ++g) {
    amx::StoreOutputs(task_, group_ + g, row_, rows_, outputs_[g]);
  }
}

template <typename Tiles, DType kType>
PHALANX_AVX512 void Chunk<Tiles, kType>::Multiply() {
  for (int64_t g = 0; g < groups_; ++g) {
    for (int64_t r = 0; r < rows_; ++r) _mm512_store_ps(outputs_[g][r], _mm512_setzero_ps());
  }
  // The step whose products wait to be scaled; none at first.
  Step waiting = {-1, 0, 0};
  int next = 0;
  ExpandCodes(0);
  for (int64_t unit = 0; unit < Units(); ++unit) {
    for (int part = 0; part < kParts; ++part) {
      for (int64_t row_tile = 0; row_tile < RowTiles(); row_tile += kRowTiles) {
        const Step step = {unit, part, row_tile};
        MultiplyTiles(step, dots_[next]);
        if (part == 0 && row_tile == 0) ExpandCodes(unit + 1);
        next = 1 - next;
        if (waiting.unit >= 0) AddScaled(waiting, dots_[next]);
        waiting = step;
      }
    }
  }
  AddScaled(waiting, dots_[1 - next]);
  StoreOutputs();
}

// As many whole steps as fit a chunk, or what is left if it is less than a step.
constexpr int64_t RowsOfChunk(int64_t rows_left) {
  if (rows_left < kStepRows) return rows_left;
  return std::min<int64_t>(rows_left / kStepRows * kStepRows, kRowsAtOnce);
}

template <typename Tiles, DType kType>
void RunType(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  Tiles tiles;
  // Chunks of whole steps have the same configuration.
  int64_t configured = -1;
  for (int64_t group = group_begin; group < group_end; group += kGroups) {
    const int64_t groups = std::min<int64_t>(group_end - group, kGroups);
    for (int64_t row = 0; row < task.rows;) {
      const int64_t rows = RowsOfChunk(task.rows - row);
      if (configured != rows % kStepRows) {
        tiles.Configure(Chunk<Tiles, kType>::ConfigFor(rows));
        configured = rows % kStepRows;
      }
      Chunk<Tiles, kType>(tiles, task, group, groups, row, rows).Multiply();
      row += rows;
    }
  }
  tiles.Release();
}

// Rows from which on tiles multiply. Fewer leave most of a tile empty, and expanding the codes then
// costs more than it saves; a single row waits for memory anyway. Half a tile is an estimate: where
// the two cross is to be measured on a machine with AMX.
inline constexpr int64_t kFewestRowsForTiles = 8;

// Fewer are one tile of prepared inputs, whatever its height, as the kernel for vectors wants them.
static_assert(kFewestRowsForTiles - 1 <= int8::kTileRows);

// LinearFormat::Run, with inputs in tiles of kTileRows. It configures the tiles of the thread that
// calls it and releases them before it returns: a call takes far longer than that, and no thread
// ever sleeps with tiles in use.
template <typename Tiles>
void LinearInt8(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  if (task.rows < kFewestRowsForTiles) {
    avx512::LinearInt8(task, group_begin, group_end);
    return;
  }
  int8::WithQuantizedType(task.weights->dtype, [&](auto type) {
    RunType<Tiles, decltype(type)::value>(task, group_begin, group_end);
  });
}

}  // namespace phalanx::kernels::amx

#endif  // PHALANX_KERNELS_CPU_AMX_INT8_LINEAR_H_
