// What kernels with vectors share to multiply bfloat16; bf16_layout.h has the arithmetic. An output
// is one sum over all inputs, so where these are cut changes no bits: they are cut into panels
// whose weights stay in the first-level cache while all rows pass by, and the sums wait in the
// outputs meanwhile.
#ifndef PHALANX_KERNELS_CPU_BF16_PANELS_H_
#define PHALANX_KERNELS_CPU_BF16_PANELS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/bf16_layout.h"
#include "kernels/cpu/int8_layout.h"
#include "kernels/cpu/linear_format.h"

namespace phalanx::kernels::bf16 {

// Rows of a tile of inputs for all kernels with vectors.
inline constexpr int64_t kVectorTileRows = 12;

// Groups that pass by all rows before the next ones do, and blocks of inputs of a panel.
inline constexpr int64_t kStepGroups = 4;
inline constexpr int64_t kPanelBlocks = 8;

// Pairs of weights of some groups for the blocks [begin, end) of inputs.
struct Panel {
  const std::byte* pairs[kStepGroups];
  int64_t group;  // The first one.
  int64_t groups;
  int64_t begin;
  int64_t end;
  bool is_last;
};

// Some rows of a tile of inputs.
struct Rows {
  const std::byte* inputs;  // Of the first row in block 0.
  int64_t tile_rows;
  int64_t row;  // Of the task, the first one.
  int64_t count;
};

// `Kernel` has
//   kMostRows, of which kVectorTileRows is a multiple;
//   void Multiply(const LinearTask&, const Panel&, const Rows&), which adds a panel to the outputs
//     of up to kMostRows rows: these begin at 0 in the first panel, and the bias comes after the
//     last one;
//   void ExpandGroup<DType>(const std::byte* group, int64_t in_features, int64_t begin, int64_t
//   end,
//     std::byte* to), which makes pairs of the blocks [begin, end) of a group of quantized weights.
template <typename Kernel>
void MultiplyAllRows(const LinearTask& task, const Panel& panel) {
  static_assert(kVectorTileRows % Kernel::kMostRows == 0);
  const TileLayout layout = {task.weights->in_features, kVectorTileRows};
  for (int64_t tile = 0; tile < layout.Tiles(task.rows); ++tile) {
    const int64_t tile_rows = layout.TileRows(task.rows, tile);
    // Of about the same height: 8 rows are cut into 4 + 4 and not 6 + 2.
    const int64_t parts = (tile_rows + Kernel::kMostRows - 1) / Kernel::kMostRows;
    const int64_t most = (tile_rows + parts - 1) / parts;
    for (int64_t r = 0; r < tile_rows; r += most) {
      const Rows x = {task.prepared + layout.TileOffset(tile) + r * kRowBytes, tile_rows,
                      tile * kVectorTileRows + r, std::min(most, tile_rows - r)};
      Kernel::Multiply(task, panel, x);
    }
  }
}

// Multiplies with all panels of the groups [group_begin, group_end). locate(group, g, panel) gives
// the pairs of group g of a panel, whose weights are at `group`.
template <typename Kernel, typename Locate>
void MultiplyAllPanels(const LinearTask& task, int64_t group_begin, int64_t group_end,
                       Locate locate) {
  const int64_t blocks = Blocks(task.weights->in_features);
  const size_t group_bytes = GroupBytes(task.weights->dtype, task.weights->in_features);
  for (int64_t group = group_begin; group < group_end; group += kStepGroups) {
    for (int64_t begin = 0; begin < blocks; begin += kPanelBlocks) {
      const int64_t end = std::min(begin + kPanelBlocks, blocks);
      Panel panel = {{},    group, std::min(kStepGroups, group_end - group),
                     begin, end,   end == blocks};
      for (int64_t g = 0; g < panel.groups; ++g) {
        panel.pairs[g] = locate(task.weights->data + (group + g) * group_bytes, g, panel);
      }
      MultiplyAllRows<Kernel>(task, panel);
    }
  }
}

template <typename Kernel, DType kType>
void RunQuantized(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  // 32 KiB.
  alignas(64) std::byte pairs[kStepGroups][kPanelBlocks * kBlockBytes];
  const int64_t in_features = task.weights->in_features;
  MultiplyAllPanels<Kernel>(
      task, group_begin, group_end, [&](const std::byte* group, int64_t g, const Panel& panel) {
        Kernel::template ExpandGroup<kType>(group, in_features, panel.begin, panel.end, pairs[g]);
        return static_cast<const std::byte*>(pairs[g]);
      });
}

// LinearFormat::Run.
template <typename Kernel>
void Run(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  if (IsQuantized(task.weights->dtype)) {
    int8::WithQuantizedType(task.weights->dtype, [&](auto type) {
      RunQuantized<Kernel, decltype(type)::value>(task, group_begin, group_end);
    });
    return;
  }
  MultiplyAllPanels<Kernel>(task, group_begin, group_end,
                            [](const std::byte* group, int64_t g, const Panel& panel) {
                              return group + panel.begin * static_cast<int64_t>(kBlockBytes);
                            });
}

}  // namespace phalanx::kernels::bf16

#endif  // PHALANX_KERNELS_CPU_BF16_PANELS_H_
