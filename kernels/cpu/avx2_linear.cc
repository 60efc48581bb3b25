#include <cstddef>
#include <cstring>

#include "kernels/cpu/avx2.h"
#include "kernels/cpu/avx2_kernels.h"
#include "kernels/cpu/avx2_weights.h"

// Products with packed weights, in two ways. With few rows, weights are decoded in registers and
// used at once: storing them would cost more than it saves. With more rows, a panel of weights is
// decoded to memory once and then used for all rows. Both follow the rule at kPanelInputs, with one
// fused multiply-add for each input, so a row has the same bits in either.
namespace phalanx::kernels::avx2 {
namespace {

// The tile that a panel is multiplied with at once: 2 groups of outputs x 6 rows are 12 sums, which
// with two vectors of weights and one of input fill 15 of the 16 vector registers.
constexpr int kUnpackedGroups = 2;
constexpr int kUnpackedRows = 6;

// A visitor of ForEachInput: adds input k of kRows rows of `x`, x_stride apart, times its weights
// to the running sums of kGroups * 8 outputs. The arrays are in registers once the loops are
// unrolled.
template <int kGroups, int kRows>
struct Accumulate {
  const float* x;
  int64_t x_stride;
  __m256 sum[kGroups][kRows];

  PHALANX_AVX2_INLINE void Clear() {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) sum[g][r] = _mm256_setzero_ps();
    }
  }

  PHALANX_AVX2_INLINE void operator()(int64_t k, const __m256 (&weights)[kGroups]) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m256 value = _mm256_broadcast_ss(x + r * x_stride + k);
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) {
        sum[g][r] = _mm256_fmadd_ps(value, weights[g], sum[g][r]);
      }
    }
  }
};

// Adds one panel's sums to `out`, where the sum over earlier panels waits, and the bias after the
// last panel. The last group of a matrix may have fewer than eight outputs.
template <int kGroups, int kRows>
PHALANX_AVX2_INLINE void AddPanel(const LinearTask& task, int64_t group, int64_t row,
                                  bool first_panel, bool last_panel,
                                  const __m256 (&sum)[kGroups][kRows]) {
  const bool add_bias = last_panel && task.bias != nullptr;
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) {
    const int64_t output = (group + g) * kGroupRows;
    const int64_t lanes = task.weights->out_features - output;
    const __m256 bias = add_bias ? LoadFirst(task.bias + output, lanes) : _mm256_setzero_ps();
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      float* out = task.out + (row + r) * task.out_stride + output;
      __m256 total = sum[g][r];
      if (!first_panel) total = _mm256_add_ps(LoadFirst(out, lanes), total);
      if (add_bias) total = _mm256_add_ps(total, bias);
      StoreFirst(out, lanes, total);
    }
  }
}

// Points `groups` at the weights of input `begin` of kGroups groups.
template <typename Type, int kGroups>
void LocateGroups(const PackedMatrix& w, int64_t group, int64_t begin,
                  const std::byte* (&groups)[kGroups]) {
  const int64_t offset = begin / BlockElements(Type::kType) * PackedBlockBytes(Type::kType);
  const auto group_bytes = static_cast<int64_t>(FloatGroupBytes(Type::kType, w.in_features));
  for (int g = 0; g < kGroups; ++g) {
    groups[g] = w.data + (group + g) * group_bytes + offset;
  }
}

// All inputs of kGroups groups and kRows rows, with weights decoded in registers.
template <typename Type, int kGroups, int kRows>
PHALANX_AVX2 __attribute__((noinline)) void DirectTile(const LinearTask& task, int64_t group) {
  const int64_t in_features = task.weights->in_features;
  for (int64_t begin = 0; begin < in_features; begin += kPanelInputs) {
    const int64_t end = std::min<int64_t>(begin + kPanelInputs, in_features);
    const std::byte* groups[kGroups];
    LocateGroups<Type>(*task.weights, group, begin, groups);
    Accumulate<kGroups, kRows> sums;
    sums.x = task.x + begin;
    sums.x_stride = in_features;
    sums.Clear();
    ForEachInput<Type, kGroups>(groups, end - begin, sums);
    AddPanel(task, group, 0, begin == 0, end == in_features, sums.sum);
  }
}

// All kRows rows. A single row takes four groups at a time, because its four chains of
// multiply-adds then run side by side. More rows bring chains of their own, and two groups leave
// registers for the scales of the weights.
template <typename Type, int kRows>
PHALANX_AVX2 void DirectRows(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  constexpr int kGroups = kRows == 1 ? 4 : 2;
  int64_t group = group_begin;
  for (; group + kGroups <= group_end; group += kGroups) {
    DirectTile<Type, kGroups, kRows>(task, group);
  }
  for (; group < group_end; ++group) DirectTile<Type, 1, kRows>(task, group);
}

// For fewer than kUnpackRows rows. The number of rows becomes a template argument, so that sums can
// stay in registers.
template <typename Type>
void Direct(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  using RowsFunction = void (*)(const LinearTask&, int64_t, int64_t);
  constexpr RowsFunction kByRows[kUnpackRows - 1] = {DirectRows<Type, 1>, DirectRows<Type, 2>,
                                                     DirectRows<Type, 3>, DirectRows<Type, 4>};
  kByRows[task.rows - 1](task, group_begin, group_end);
}

// A visitor of ForEachInput that stores the weights.
template <int kGroups>
struct Unpack {
  float* panel;  // [kGroups][kPanelInputs][kGroupRows]

  PHALANX_AVX2_INLINE void operator()(int64_t k, const __m256 (&weights)[kGroups]) {
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) {
      _mm256_store_ps(panel + (g * kPanelInputs + k) * kGroupRows, weights[g]);
    }
  }
};

// Unpacked weights of the inputs [begin, end) of some groups.
struct Panel {
  const float* weights;  // [groups][kPanelInputs][kGroupRows]
  int64_t group;         // The first one.
  int64_t begin;
  int64_t end;
};

template <int kGroups, int kRows>
PHALANX_AVX2 __attribute__((noinline)) void PanelTile(const LinearTask& task, const Panel& panel,
                                                      int64_t row) {
  const int64_t in_features = task.weights->in_features;
  // Unpacked weights lie as in a packed matrix of type F32, so the same loop reads them.
  const std::byte* groups[kGroups];
  for (int g = 0; g < kGroups; ++g) {
    groups[g] = reinterpret_cast<const std::byte*>(panel.weights + g * kPanelInputs * kGroupRows);
  }
  Accumulate<kGroups, kRows> sums;
  sums.x = task.x + row * in_features + panel.begin;
  sums.x_stride = in_features;
  sums.Clear();
  ForEachInput<F32, kGroups>(groups, panel.end - panel.begin, sums);
  AddPanel(task, panel.group, row, panel.begin == 0, panel.end == in_features, sums.sum);
}

template <typename Type, int kGroups>
PHALANX_AVX2 void PanelRows(const LinearTask& task, int64_t group, int64_t begin, int64_t end) {
  using TileFunction = void (*)(const LinearTask&, const Panel&, int64_t);
  constexpr TileFunction kByRows[kUnpackedRows] = {PanelTile<kGroups, 1>, PanelTile<kGroups, 2>,
                                                   PanelTile<kGroups, 3>, PanelTile<kGroups, 4>,
                                                   PanelTile<kGroups, 5>, PanelTile<kGroups, 6>};
  // 16 KiB for two groups: stays in the first-level cache while all rows use it.
  alignas(64) float weights[kGroups * kPanelInputs * kGroupRows];
  const std::byte* groups[kGroups];
  LocateGroups<Type>(*task.weights, group, begin, groups);
  Unpack<kGroups> unpack = {weights};
  ForEachInput<Type, kGroups>(groups, end - begin, unpack);
  const Panel panel = {weights, group, begin, end};
  // Tiles of about the same height: 8 rows are cut into 4 + 4 and not 6 + 2, since a tile of two
  // rows has too few chains to keep the processor busy.
  for (int64_t row = 0; row < task.rows;) {
    const int64_t left = task.rows - row;
    const int64_t tiles = (left + kUnpackedRows - 1) / kUnpackedRows;
    const int64_t rows = (left + tiles - 1) / tiles;
    kByRows[rows - 1](task, panel, row);
    row += rows;
  }
}

// The panels are the outer loop, so that one panel's inputs of all rows (256 KiB for 256 rows) stay
// in the second-level cache while the weights of all groups pass by.
template <typename Type>
void Unpacked(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  const int64_t in_features = task.weights->in_features;
  for (int64_t begin = 0; begin < in_features; begin += kPanelInputs) {
    const int64_t end = std::min<int64_t>(begin + kPanelInputs, in_features);
    int64_t group = group_begin;
    for (; group + kUnpackedGroups <= group_end; group += kUnpackedGroups) {
      PanelRows<Type, kUnpackedGroups>(task, group, begin, end);
    }
    for (; group < group_end; ++group) PanelRows<Type, 1>(task, group, begin, end);
  }
}

template <typename Type>
void LinearOf(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  if (task.rows < kUnpackRows) {
    Direct<Type>(task, group_begin, group_end);
  } else {
    Unpacked<Type>(task, group_begin, group_end);
  }
}

}  // namespace

void Linear(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  WithWeights(task.weights->dtype,
              [&](auto weights) { LinearOf<decltype(weights)>(task, group_begin, group_end); });
}

}  // namespace phalanx::kernels::avx2
