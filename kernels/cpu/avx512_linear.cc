#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/avx2.h"
#include "kernels/cpu/avx2_kernels.h"
#include "kernels/cpu/avx2_weights.h"
#include "kernels/cpu/avx512.h"
#include "kernels/cpu/avx512_kernels.h"
#include "kernels/cpu/float_format.h"

// Products in float32 of many rows, with two groups of outputs in a vector. Every output is summed
// as in avx2_linear.cc, which computes few rows: the bits are the same.
namespace phalanx::kernels::avx512 {
namespace {

using avx2::kUnpackRows;

// The tile that a panel is multiplied with at once: 4 groups of outputs, which are 2 vectors, x 8
// rows are 16 sums.
constexpr int kPanelGroups = 4;
constexpr int kVectorGroups = 2;
constexpr int kPanelVectors = kPanelGroups / kVectorGroups;
constexpr int kMostRows = 8;
constexpr int kLanes = kVectorGroups * kGroupRows;

// Unpacked weights of the inputs [begin, end) of some groups.
struct Panel {
  const float* weights;  // [vectors][kPanelInputs][kLanes]
  int64_t group;         // The first one.
  int64_t begin;
  int64_t end;
  int64_t output_end;  // Outputs from here on are none, or another thread's.
};

// A visitor of ForEachInput that stores the weights of two groups side by side.
struct Unpack {
  float* panel;  // [kPanelInputs][kLanes]

  PHALANX_AVX2_INLINE void operator()(int64_t k, const __m256 (&weights)[kVectorGroups]) {
    _mm256_store_ps(panel + k * kLanes, weights[0]);
    _mm256_store_ps(panel + k * kLanes + kGroupRows, weights[1]);
  }
};
// The same of a single group.
struct UnpackOne {
  float* panel;

  PHALANX_AVX2_INLINE void operator()(int64_t k, const __m256 (&weights)[1]) {
    _mm256_store_ps(panel + k * kLanes, weights[0]);
  }
};

// Adds a panel to the outputs of kRows rows: as AddPanel of avx2_linear.cc.
template <int kVectors, int kRows>
PHALANX_AVX512 __attribute__((noinline)) void MultiplyTile(const LinearTask& task,
                                                           const Panel& panel, int64_t row) {
  const int64_t in_features = task.weights->in_features;
  const float* const x = task.x + row * in_features + panel.begin;
  const int64_t inputs = panel.end - panel.begin;
  __m512 sums[kVectors][kRows];
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) sums[v][r] = _mm512_setzero_ps();
  }
#pragma GCC unroll 2
  for (int64_t k = 0; k < inputs; ++k) {
    __m512 weights[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      weights[v] = _mm512_load_ps(panel.weights + (v * kPanelInputs + k) * kLanes);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m512 value = _mm512_set1_ps(x[r * in_features + k]);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        sums[v][r] = _mm512_fmadd_ps(value, weights[v], sums[v][r]);
      }
    }
  }
  const bool has_bias = panel.end == in_features && task.bias != nullptr;
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) {
    const int64_t output = (panel.group + v * kVectorGroups) * kGroupRows;
    const int64_t left = panel.output_end - output;
    const auto lanes = static_cast<__mmask16>(left >= kLanes ? 0xffff : (1 << left) - 1);
    const __m512 bias =
        has_bias ? _mm512_maskz_loadu_ps(lanes, task.bias + output) : _mm512_setzero_ps();
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      float* const out = task.out + (row + r) * task.out_stride + output;
      __m512 total = sums[v][r];
      if (panel.begin > 0) total = _mm512_add_ps(_mm512_maskz_loadu_ps(lanes, out), total);
      if (has_bias) total = _mm512_add_ps(total, bias);
      _mm512_mask_storeu_ps(out, lanes, total);
    }
  }
}

template <int kVectors>
void MultiplyRows(const LinearTask& task, const Panel& panel) {
  using TileFunction = void (*)(const LinearTask&, const Panel&, int64_t);
  static constexpr TileFunction kByRows[kMostRows] = {
      MultiplyTile<kVectors, 1>, MultiplyTile<kVectors, 2>, MultiplyTile<kVectors, 3>,
      MultiplyTile<kVectors, 4>, MultiplyTile<kVectors, 5>, MultiplyTile<kVectors, 6>,
      MultiplyTile<kVectors, 7>, MultiplyTile<kVectors, 8>};
  // Of about the same height: 9 rows are cut into 5 + 4.
  for (int64_t row = 0; row < task.rows;) {
    const int64_t left = task.rows - row;
    const int64_t tiles = (left + kMostRows - 1) / kMostRows;
    const int64_t rows = (left + tiles - 1) / tiles;
    kByRows[rows - 1](task, panel, row);
    row += rows;
  }
}

// Unpacks one or two groups into a vector of a panel.
template <typename Type>
PHALANX_AVX2 __attribute__((noinline)) void UnpackVector(const PackedMatrix& w, int64_t group,
                                                         int64_t groups, int64_t begin, int64_t end,
                                                         float* to) {
  const auto group_bytes = static_cast<int64_t>(FloatGroupBytes(Type::kType, w.in_features));
  const std::byte* const first =
      w.data + group * group_bytes +
      begin / BlockElements(Type::kType) * static_cast<int64_t>(PackedBlockBytes(Type::kType));
  if (groups >= kVectorGroups) {
    const std::byte* const both[kVectorGroups] = {first, first + group_bytes};
    Unpack unpack = {to};
    avx2::ForEachInput<Type, kVectorGroups>(both, end - begin, unpack);
    return;
  }
  const std::byte* const one[1] = {first};
  UnpackOne unpack = {to};
  avx2::ForEachInput<Type, 1>(one, end - begin, unpack);
}

// The panels are the outer loop, as in avx2_linear.cc.
template <typename Type>
void LinearOf(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  const int64_t in_features = task.weights->in_features;
  const int64_t output_end = std::min(group_end * kGroupRows, task.weights->out_features);
  // 32 KiB. Lanes without a group are multiplied too, and their sums are dropped.
  alignas(64) float weights[kPanelVectors * kPanelInputs * kLanes] = {};
  for (int64_t begin = 0; begin < in_features; begin += kPanelInputs) {
    const int64_t end = std::min<int64_t>(begin + kPanelInputs, in_features);
    for (int64_t group = group_begin; group < group_end; group += kPanelGroups) {
      const int64_t groups = std::min<int64_t>(kPanelGroups, group_end - group);
      for (int64_t g = 0; g < groups; g += kVectorGroups) {
        UnpackVector<Type>(*task.weights, group + g, groups - g, begin, end,
                           weights + g / kVectorGroups * kPanelInputs * kLanes);
      }
      const Panel panel = {weights, group, begin, end, output_end};
      if (groups > kVectorGroups) {
        MultiplyRows<2>(task, panel);
      } else {
        MultiplyRows<1>(task, panel);
      }
    }
  }
}

}  // namespace

void Linear(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  if (task.rows < kUnpackRows) {
    avx2::Linear(task, group_begin, group_end);
    return;
  }
  avx2::WithWeights(task.weights->dtype, [&](auto weights) {
    LinearOf<decltype(weights)>(task, group_begin, group_end);
  });
}

}  // namespace phalanx::kernels::avx512
