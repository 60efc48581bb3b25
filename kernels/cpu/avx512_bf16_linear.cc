#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/avx512.h"
#include "kernels/cpu/avx512_bf16_weights.h"
#include "kernels/cpu/avx512_kernels.h"
#include "kernels/cpu/bf16_layout.h"
#include "kernels/cpu/bf16_panels.h"

// Products by vdpbf16ps: each lane of a vector takes a pair of weights of one output and a pair of
// inputs of a row. bf16_layout.h has the arithmetic.
namespace phalanx::kernels::avx512 {
namespace {

using bf16::kBlockBytes;
using bf16::kBlockPairs;
using bf16::kVectorBytes;
using bf16::Panel;
using bf16::Rows;

PHALANX_AVX512_BF16_INLINE __m512 AddPairs(__m512 sum, __m512i weights, __m512i inputs) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(inputs),
                          reinterpret_cast<__m512bh>(weights));
}

PHALANX_AVX512_INLINE __m512i BroadcastPair(const std::byte* from) {
  int32_t pair;
  std::memcpy(&pair, from, sizeof(pair));
  return _mm512_set1_epi32(pair);
}

PHALANX_AVX512_INLINE __mmask16 LanesOf(const LinearTask& task, int64_t output) {
  const int64_t lanes = task.weights->out_features - output;
  return static_cast<__mmask16>(lanes >= 16 ? 0xffff : (1 << lanes) - 1);
}

// Adds a panel to the sums of kRows rows and kGroups groups from first_group on.
template <int kGroups, int kRows>
PHALANX_AVX512_BF16 __attribute__((noinline)) void Multiply(const LinearTask& task,
                                                            const Panel& panel, int first_group,
                                                            const Rows& x) {
  __m512 sums[kGroups][kRows];
  const int64_t first = (panel.group + first_group) * bf16::kGroupRows;
  float* const out = task.out + x.row * task.out_stride + first;
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) {
    const __mmask16 lanes = LanesOf(task, first + g * bf16::kGroupRows);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      sums[g][r] = panel.begin == 0 ? _mm512_setzero_ps()
                                    : _mm512_maskz_loadu_ps(
                                          lanes, out + r * task.out_stride + g * bf16::kGroupRows);
    }
  }
  const std::byte* pairs[kGroups];
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) pairs[g] = panel.pairs[first_group + g];
  const std::byte* inputs = x.inputs + panel.begin * x.tile_rows * bf16::kRowBytes;
  for (int64_t b = panel.begin; b < panel.end; ++b) {
#pragma GCC unroll 4
    for (int p = 0; p < kBlockPairs; ++p) {
      __m512i weights[kGroups];
#pragma GCC unroll 4
      for (int g = 0; g < kGroups; ++g) {
        weights[g] = _mm512_load_si512(pairs[g] + p * kVectorBytes);
      }
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const __m512i pair = BroadcastPair(inputs + r * bf16::kRowBytes + p * 4);
#pragma GCC unroll 4
        for (int g = 0; g < kGroups; ++g) sums[g][r] = AddPairs(sums[g][r], weights[g], pair);
      }
    }
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) pairs[g] += kBlockBytes;
    inputs += x.tile_rows * bf16::kRowBytes;
  }
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) {
    const int64_t output = first + g * bf16::kGroupRows;
    const __mmask16 lanes = LanesOf(task, output);
    const bool has_bias = panel.is_last && task.bias != nullptr;
    const __m512 bias =
        has_bias ? _mm512_maskz_loadu_ps(lanes, task.bias + output) : _mm512_setzero_ps();
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m512 sum = has_bias ? _mm512_add_ps(sums[g][r], bias) : sums[g][r];
      _mm512_mask_storeu_ps(out + r * task.out_stride + g * bf16::kGroupRows, lanes, sum);
    }
  }
}

template <int kRows>
void MultiplyRows(const LinearTask& task, const Panel& panel, const Rows& x) {
  int first = 0;
  for (; panel.groups - first >= 4; first += 4) Multiply<4, kRows>(task, panel, first, x);
  if (panel.groups - first >= 2) {
    Multiply<2, kRows>(task, panel, first, x);
    first += 2;
  }
  if (panel.groups > first) Multiply<1, kRows>(task, panel, first, x);
}

// See bf16_panels.h.
struct Kernel {
  // With four groups 24 sums, which with four vectors of weights and one of inputs fill 29 of the
  // 32 registers.
  static constexpr int kMostRows = 6;

  static void Multiply(const LinearTask& task, const Panel& panel, const Rows& x) {
    using RowsFunction = void (*)(const LinearTask&, const Panel&, const Rows&);
    static constexpr RowsFunction kByRows[kMostRows] = {MultiplyRows<1>, MultiplyRows<2>,
                                                        MultiplyRows<3>, MultiplyRows<4>,
                                                        MultiplyRows<5>, MultiplyRows<6>};
    kByRows[x.count - 1](task, panel, x);
  }
  template <DType kType>
  static void ExpandGroup(const std::byte* group, int64_t in_features, int64_t begin, int64_t end,
                          std::byte* to) {
    avx512::ExpandGroup<kType>(group, in_features, begin, end, to);
  }
};

}  // namespace

void LinearBf16(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  bf16::Run<Kernel>(task, group_begin, group_end);
}

}  // namespace phalanx::kernels::avx512
