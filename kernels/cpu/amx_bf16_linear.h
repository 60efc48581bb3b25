// Products of bfloat16 by AMX's tiles; bf16_layout.h has the arithmetic. A template over the tiles,
// see amx_tiles.h.
//
// The eight tiles are 2 groups of weights, 2 x 16 rows of inputs and their 2 x 2 products, so that
// each tile is used twice once it is loaded. Unlike those of bytes the sums stay in their tiles for
// a whole panel of inputs, since pairs of quantized weights have their scales in them. A single row
// is multiplied by tiles too, most of which are then empty: others would give it other bits, and
// it waits for memory anyway.
#ifndef PHALANX_KERNELS_CPU_AMX_BF16_LINEAR_H_
#define PHALANX_KERNELS_CPU_AMX_BF16_LINEAR_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/amx_outputs.h"
#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/avx512.h"
#include "kernels/cpu/avx512_bf16_weights.h"
#include "kernels/cpu/bf16_layout.h"
#include "kernels/cpu/linear_format.h"

namespace phalanx::kernels::amx::bf16_linear {

// Rows of a tile of prepared inputs (TileLayout), which is also a tile of inputs.
inline constexpr int kTileRows = kMostTileRows;

// What is multiplied in a step: some groups of outputs and tiles of rows.
inline constexpr int kGroups = 2;
inline constexpr int kRowTiles = 2;
inline constexpr int kStepRows = kRowTiles * kTileRows;

// Rows that share the pairs of a panel; their sums are 16 KiB. Blocks of inputs of a panel, whose
// pairs are 32 KiB.
inline constexpr int kRowsAtOnce = 128;
inline constexpr int kPanelBlocks = 16;

static_assert(kLanes == bf16::kGroupRows);

// Which tile is which.
constexpr int SumsTile(int g, int t) { return g * kRowTiles + t; }
constexpr int InputsTile(int t) { return kGroups * kRowTiles + t; }
constexpr int WeightsTile(int g) { return kGroups * kRowTiles + kRowTiles + g; }

// For steps of so many rows.
inline TileConfig ConfigFor(int64_t rows) {
  TileConfig config;
  const auto set = [&config](int tile, int64_t tile_rows) {
    config.rows[tile] = static_cast<uint8_t>(tile_rows);
    config.row_bytes[tile] = bf16::kVectorBytes;
  };
  static_assert(bf16::kRowBytes == bf16::kVectorBytes);
  for (int g = 0; g < kGroups; ++g) set(WeightsTile(g), bf16::kBlockPairs);
  for (int t = 0; t < kRowTiles; ++t) {
    // The last step of a task may have fewer rows, in its last tile, and no second tile.
    const int64_t tile_rows = std::min<int64_t>(rows - t * kTileRows, kTileRows);
    if (tile_rows <= 0) continue;
    set(InputsTile(t), tile_rows);
    for (int g = 0; g < kGroups; ++g) set(SumsTile(g, t), tile_rows);
  }
  return config;
}

// Up to kRowsAtOnce rows and up to kGroups groups.
template <typename Tiles>
class Chunk {
 public:
  // `rows` are whole steps, or what is left of the task, less than a step. `tiles` have been
  // configured by ConfigFor(rows).
  Chunk(Tiles& tiles, const LinearTask& task, int64_t group, int64_t groups, int64_t row,
        int64_t rows)
      : tiles_(tiles), task_(task), group_(group), groups_(groups), row_(row), rows_(rows) {}

  // Adds the blocks [begin, end); pairs[g] are those of group g from `begin` on.
  void Add(const std::byte* const (&pairs)[kGroups], int64_t begin, int64_t end) {
    for (int64_t t = 0; t * kTileRows < rows_; t += kRowTiles) {
      if ((t + 1) * kTileRows < rows_) {
        AddStep<kRowTiles>(pairs, t, begin, end);
      } else {
        AddStep<1>(pairs, t, begin, end);
      }
    }
  }
  void StoreOutputs() const;

 private:
  // A tile of prepared inputs.
  struct Inputs {
    const std::byte* data;
    int64_t rows;
  };
  Inputs InputsOf(int64_t row_tile) const {
    const bf16::TileLayout layout = {task_.weights->in_features, kTileRows};
    const int64_t tile = row_ / kTileRows + row_tile;
    return {task_.prepared + layout.TileOffset(tile), layout.TileRows(task_.rows, tile)};
  }

  template <int kStepTiles>
  void AddStep(const std::byte* const (&pairs)[kGroups], int64_t row_tile, int64_t begin,
               int64_t end);
  // The sums of one row tile of a step, and their products with one block.
  template <int kRowTile>
  void LoadSums(int64_t row_tile, bool is_first);
  template <int kRowTile>
  void StoreSums(int64_t row_tile);
  template <int kRowTile>
  void AddBlock(const Inputs& x, int64_t b);

  Tiles& tiles_;
  const LinearTask& task_;
  const int64_t group_;
  const int64_t groups_;
  const int64_t row_;
  const int64_t rows_;
  alignas(64) float outputs_[kGroups][kRowsAtOnce][kLanes];
};

template <typename Tiles>
template <int kRowTile>
void Chunk<Tiles>::LoadSums(int64_t row_tile, bool is_first) {
  if (is_first) {
    tiles_.template Zero<SumsTile(0, kRowTile)>();
    tiles_.template Zero<SumsTile(1, kRowTile)>();
    return;
  }
  const int64_t row = (row_tile + kRowTile) * kTileRows;
  tiles_.template Load<SumsTile(0, kRowTile)>(outputs_[0][row], bf16::kVectorBytes);
  if (groups_ < kGroups) return;
  tiles_.template Load<SumsTile(1, kRowTile)>(outputs_[1][row], bf16::kVectorBytes);
}

template <typename Tiles>
template <int kRowTile>
void Chunk<Tiles>::StoreSums(int64_t row_tile) {
  const int64_t row = (row_tile + kRowTile) * kTileRows;
  tiles_.template Store<SumsTile(0, kRowTile)>(outputs_[0][row], bf16::kVectorBytes);
  if (groups_ < kGroups) return;
  tiles_.template Store<SumsTile(1, kRowTile)>(outputs_[1][row], bf16::kVectorBytes);
}

template <typename Tiles>
template <int kRowTile>
void Chunk<Tiles>::AddBlock(const Inputs& x, int64_t b) {
  tiles_.template Load<InputsTile(kRowTile)>(x.data + b * x.rows * bf16::kRowBytes,
                                             bf16::kRowBytes);
  tiles_.template AddBf16Dots<SumsTile(0, kRowTile), InputsTile(kRowTile), WeightsTile(0)>();
  if (groups_ < kGroups) return;
  tiles_.template AddBf16Dots<SumsTile(1, kRowTile), InputsTile(kRowTile), WeightsTile(1)>();
}

template <typename Tiles>
template <int kStepTiles>
void Chunk<Tiles>::AddStep(const std::byte* const (&pairs)[kGroups], int64_t row_tile,
                           int64_t begin, int64_t end) {
  static_assert(kGroups == 2 && kRowTiles == 2);
  const Inputs first = InputsOf(row_tile);
  const Inputs second = kStepTiles > 1 ? InputsOf(row_tile + 1) : first;
  LoadSums<0>(row_tile, begin == 0);
  if constexpr (kStepTiles > 1) LoadSums<1>(row_tile, begin == 0);
  for (int64_t b = begin; b < end; ++b) {
    const size_t at = static_cast<size_t>(b - begin) * bf16::kBlockBytes;
    tiles_.template Load<WeightsTile(0)>(pairs[0] + at, bf16::kVectorBytes);
    if (groups_ == kGroups) {
      tiles_.template Load<WeightsTile(1)>(pairs[1] + at, bf16::kVectorBytes);
    }
    AddBlock<0>(first, b);
    if constexpr (kStepTiles > 1) AddBlock<1>(second, b);
  }
  StoreSums<0>(row_tile);
  if constexpr (kStepTiles > 1) StoreSums<1>(row_tile);
}

template <typename Tiles>
void Chunk<Tiles>::StoreOutputs() const {
  for (int64_t g = 0; g < groups_; ++g) {
    amx::StoreOutputs(task_, group_ + g, row_, rows_, outputs_[g]);
  }
}

// As many whole steps as fit a chunk, or what is left if it is less than a step.
constexpr int64_t RowsOfChunk(int64_t rows_left) {
  if (rows_left < kStepRows) return rows_left;
  return std::min<int64_t>(rows_left / kStepRows * kStepRows, kRowsAtOnce);
}

// Runs all chunks of the groups [group_begin, group_end). multiply(chunk, group, groups) adds all
// blocks to one.
template <typename Tiles, typename Multiply>
void ForEachChunk(const LinearTask& task, int64_t group_begin, int64_t group_end,
                  Multiply multiply) {
  Tiles tiles;
  // Chunks of whole steps have the same configuration.
  int64_t configured = -1;
  for (int64_t group = group_begin; group < group_end; group += kGroups) {
    const int64_t groups = std::min<int64_t>(group_end - group, kGroups);
    for (int64_t row = 0; row < task.rows;) {
      const int64_t rows = RowsOfChunk(task.rows - row);
      if (configured != rows % kStepRows) {
        tiles.Configure(ConfigFor(rows));
        configured = rows % kStepRows;
      }
      Chunk<Tiles> chunk(tiles, task, group, groups, row, rows);
      multiply(chunk, group, groups);
      chunk.StoreOutputs();
      row += rows;
    }
  }
  tiles.Release();
}

template <typename Tiles>
void RunFloats(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  const int64_t in_features = task.weights->in_features;
  const size_t group_bytes = bf16::GroupBytes(task.weights->dtype, in_features);
  ForEachChunk<Tiles>(task, group_begin, group_end,
                      [&](Chunk<Tiles>& chunk, int64_t group, int64_t groups) {
                        const std::byte* const first = task.weights->data + group * group_bytes;
                        const std::byte* const pairs[kGroups] = {
                            first, groups == kGroups ? first + group_bytes : nullptr};
                        chunk.Add(pairs, 0, bf16::Blocks(in_features));
                      });
}

template <typename Tiles, DType kType>
void RunQuantized(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  const int64_t in_features = task.weights->in_features;
  const size_t group_bytes = bf16::GroupBytes(kType, in_features);
  const int64_t blocks = bf16::Blocks(in_features);
  alignas(64) std::byte pairs[kGroups][kPanelBlocks * bf16::kBlockBytes];
  ForEachChunk<Tiles>(
      task, group_begin, group_end, [&](Chunk<Tiles>& chunk, int64_t group, int64_t groups) {
        for (int64_t begin = 0; begin < blocks; begin += kPanelBlocks) {
          const int64_t end = std::min<int64_t>(begin + kPanelBlocks, blocks);
          for (int64_t g = 0; g < groups; ++g) {
            avx512::ExpandGroup<kType>(task.weights->data + (group + g) * group_bytes, in_features,
                                       begin, end, pairs[g]);
          }
          chunk.Add({pairs[0], pairs[1]}, begin, end);
        }
      });
}

// LinearFormat::Run, with inputs in tiles of kTileRows. It configures the tiles of the thread that
// calls it and releases them before it returns, as those of amx_int8_linear.h.
template <typename Tiles>
void Run(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  if (IsQuantized(task.weights->dtype)) {
    int8::WithQuantizedType(task.weights->dtype, [&](auto type) {
      RunQuantized<Tiles, decltype(type)::value>(task, group_begin, group_end);
    });
    return;
  }
  RunFloats<Tiles>(task, group_begin, group_end);
}

}  // namespace phalanx::kernels::amx::bf16_linear

#endif  // PHALANX_KERNELS_CPU_AMX_BF16_LINEAR_H_
