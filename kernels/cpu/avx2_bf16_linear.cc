#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/bfloat16.h"
#include "kernels/cpu/avx2.h"
#include "kernels/cpu/avx2_int8_linear.h"
#include "kernels/cpu/avx2_kernels.h"
#include "kernels/cpu/bf16_layout.h"
#include "kernels/cpu/bf16_panels.h"

// Products of bfloat16 by multiply-adds of float32, which give the bits of bf16_layout.h because a
// product of two bfloat16 is exact.
namespace phalanx::kernels::avx2 {
namespace {

using bf16::kBlockBytes;
using bf16::kBlockPairs;
using bf16::kVectorBytes;
using bf16::Panel;
using bf16::Rows;
using int8_linear::LoadLanes;

constexpr int kHalfBytes = int8_linear::kLaneBytes;

// --- Rounding ---

// Rounded to bfloat16, which is the upper half of each lane; the lower half is of no use.
PHALANX_AVX2_INLINE __m256i Rounded(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  // As FloatToBFloat16: a NaN stays one.
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  return _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
}

// A pair for each lane.
PHALANX_AVX2_INLINE __m256i RoundedPairs(__m256 first, __m256 second) {
  return _mm256_blend_epi16(_mm256_srli_epi32(Rounded(first), 16), Rounded(second), 0b10101010);
}

// --- Weights ---

// For Codes: as they stand in their bytes.
struct UnsignedCodes {
  static constexpr bool kDotsOfFour = true;
};

// As those of avx512_bf16_weights.h, for half a group.
struct ByteScales {
  __m256 d[3];
  __m256 m;
};
template <DType kType>
PHALANX_AVX2_INLINE ByteScales LoadByteScales(const std::byte* block, int half, int64_t sub_block) {
  ByteScales scales;
  scales.m = _mm256_setzero_ps();
  int8_linear::LoadScale<kType>(block, half, sub_block, scales.d[0], scales.m);
  if constexpr (!HasMinimum(kType)) {
    scales.m = _mm256_mul_ps(scales.d[0], _mm256_set1_ps(-static_cast<float>(int8::ZeroOf(kType))));
  }
  scales.d[1] = _mm256_mul_ps(scales.d[0], _mm256_set1_ps(0x1p-8f));
  scales.d[2] = _mm256_mul_ps(scales.d[0], _mm256_set1_ps(0x1p-16f));
  return scales;
}

// Words [kWord, kEnd) of half a unit.
template <DType kType, int kWord, int kEnd>
PHALANX_AVX2_INLINE void ExpandPairs(const std::byte* unit, const ByteScales& scales,
                                     std::byte* to) {
  if constexpr (kWord < kEnd) {
    const __m256i codes = int8_linear::Codes<UnsignedCodes, kType, kWord>(unit);
    __m256 weights[4];
#pragma GCC unroll 3
    for (int i = 0; i < 3; ++i) {
      const __m256i code = _mm256_and_si256(codes, _mm256_set1_epi32(0xff << (8 * i)));
      weights[i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(code), scales.d[i], scales.m);
    }
    const __m256i code = _mm256_srli_epi32(codes, 24);
    weights[3] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(code), scales.d[0], scales.m);
    auto* const pairs = reinterpret_cast<__m256i*>(to + 2 * kWord * kVectorBytes);
    _mm256_store_si256(pairs, RoundedPairs(weights[0], weights[1]));
    _mm256_store_si256(pairs + kVectorBytes / sizeof(__m256i),
                       RoundedPairs(weights[2], weights[3]));
    ExpandPairs<kType, kWord + 1, kEnd>(unit, scales, to);
  }
}

// Writes the blocks [begin, end) of a group of quantized weights as pairs.
template <DType kType>
PHALANX_AVX2 __attribute__((noinline)) void ExpandGroup(const std::byte* group, int64_t in_features,
                                                        int64_t begin, int64_t end, std::byte* to) {
  constexpr int kUnits = int8::UnitsPerBlock(kType);
  constexpr int kParts = int8::kBlockInputs / SubBlockElements(kType);
  constexpr int kPartWords = int8::kUnitWords / kParts;
  const std::byte* const scales = group + int8::CodeBytes(kType, in_features);
  for (int64_t b = begin; b < end; ++b, to += kBlockBytes) {
    const std::byte* const unit = group + b * int8::UnitBytes(kType);
    const std::byte* const block = scales + b / kUnits * int8::ScaleBytes(kType);
    const int64_t part = b % kUnits * kParts;
    for (int half = 0; half < 2; ++half) {
      const std::byte* const lanes = unit + half * kHalfBytes;
      std::byte* const half_to = to + half * kHalfBytes;
      ExpandPairs<kType, 0, kPartWords>(lanes, LoadByteScales<kType>(block, half, part), half_to);
      if constexpr (kParts == 2) {
        ExpandPairs<kType, kPartWords, int8::kUnitWords>(
            lanes, LoadByteScales<kType>(block, half, part + 1), half_to);
      }
    }
  }
}

// --- Products ---

PHALANX_AVX2_INLINE __m256 FirstOf(__m256i pairs) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
}
PHALANX_AVX2_INLINE __m256 SecondOf(__m256i pairs) {
  return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(-0x10000)));
}

// Adds one pair of inputs of each row.
template <int kHalves, int kRows>
PHALANX_AVX2_INLINE void AddPair(const std::byte* const (&pairs)[kHalves], int p,
                                 const std::byte* inputs, __m256 (&sums)[kHalves][kRows]) {
  __m256 first[kRows];
  __m256 second[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    const __m256i pair = int8_linear::Broadcast32(inputs + r * bf16::kRowBytes + p * 4);
    first[r] = FirstOf(pair);
    second[r] = SecondOf(pair);
  }
#pragma GCC unroll 8
  for (int h = 0; h < kHalves; ++h) {
    const __m256i weights = LoadLanes(pairs[h] + p * kVectorBytes);
    const __m256 first_weights = FirstOf(weights);
    const __m256 second_weights = SecondOf(weights);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m256 sum = _mm256_fmadd_ps(second[r], second_weights, sums[h][r]);
      sums[h][r] = _mm256_fmadd_ps(first[r], first_weights, sum);
    }
  }
}

// Adds a panel to the sums of kRows rows and kGroups groups from first_group on.
template <int kGroups, int kRows>
PHALANX_AVX2 __attribute__((noinline)) void Multiply(const LinearTask& task, const Panel& panel,
                                                     int first_group, const Rows& x) {
  constexpr int kHalves = 2 * kGroups;
  __m256 sums[kHalves][kRows];
  const int64_t first = (panel.group + first_group) * bf16::kGroupRows;
  float* const out = task.out + x.row * task.out_stride + first;
  const std::byte* pairs[kHalves];
#pragma GCC unroll 8
  for (int h = 0; h < kHalves; ++h) {
    const int64_t lanes = task.weights->out_features - first - h * kLanes;
    pairs[h] = panel.pairs[first_group + h / 2] + h % 2 * kHalfBytes;
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      sums[h][r] = panel.begin == 0 ? _mm256_setzero_ps()
                                    : LoadFirst(out + r * task.out_stride + h * kLanes, lanes);
    }
  }
  const std::byte* inputs = x.inputs + panel.begin * x.tile_rows * bf16::kRowBytes;
  for (int64_t b = panel.begin; b < panel.end; ++b) {
#pragma GCC unroll 2
    for (int p = 0; p < kBlockPairs; ++p) AddPair<kHalves, kRows>(pairs, p, inputs, sums);
#pragma GCC unroll 8
    for (int h = 0; h < kHalves; ++h) pairs[h] += kBlockBytes;
    inputs += x.tile_rows * bf16::kRowBytes;
  }
#pragma GCC unroll 8
  for (int h = 0; h < kHalves; ++h) {
    const int64_t lanes = task.weights->out_features - first - h * kLanes;
    const bool has_bias = panel.is_last && task.bias != nullptr;
    const __m256 bias =
        has_bias ? LoadFirst(task.bias + first + h * kLanes, lanes) : _mm256_setzero_ps();
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m256 sum = has_bias ? _mm256_add_ps(sums[h][r], bias) : sums[h][r];
      StoreFirst(out + r * task.out_stride + h * kLanes, lanes, sum);
    }
  }
}

// Fewer rows take more groups at once, to have enough sums that do not wait for each other.
template <int kRows>
void MultiplyRows(const LinearTask& task, const Panel& panel, const Rows& x) {
  constexpr int kGroups = kRows == 1 ? 4 : kRows == 2 ? 2 : 1;
  int first = 0;
  for (; panel.groups - first >= kGroups; first += kGroups) {
    Multiply<kGroups, kRows>(task, panel, first, x);
  }
  for (; first < panel.groups; ++first) Multiply<1, kRows>(task, panel, first, x);
}

// See bf16_panels.h.
struct Kernel {
  // More would not fit the 16 registers.
  static constexpr int kMostRows = 4;

  static void Multiply(const LinearTask& task, const Panel& panel, const Rows& x) {
    using RowsFunction = void (*)(const LinearTask&, const Panel&, const Rows&);
    static constexpr RowsFunction kByRows[kMostRows] = {MultiplyRows<1>, MultiplyRows<2>,
                                                        MultiplyRows<3>, MultiplyRows<4>};
    kByRows[x.count - 1](task, panel, x);
  }
  template <DType kType>
  static void ExpandGroup(const std::byte* group, int64_t in_features, int64_t begin, int64_t end,
                          std::byte* to) {
    avx2::ExpandGroup<kType>(group, in_features, begin, end, to);
  }
};

}  // namespace

PHALANX_AVX2 void RoundToBf16(const float* x, int64_t n, uint16_t* to) {
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    const __m256i first = _mm256_srli_epi32(Rounded(_mm256_loadu_ps(x + i)), 16);
    const __m256i second = _mm256_srli_epi32(Rounded(_mm256_loadu_ps(x + i + kLanes)), 16);
    // Packing works within halves of vectors, which exchanges the middle quarters.
    const __m256i packed = _mm256_packus_epi32(first, second);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i),
                        _mm256_permute4x64_epi64(packed, 0b11'01'10'00));
  }
  for (; i < n; ++i) to[i] = FloatToBFloat16(x[i]);
}

void LinearBf16(const LinearTask& task, int64_t group_begin, int64_t group_end) {
  bf16::Run<Kernel>(task, group_begin, group_end);
}

}  // namespace phalanx::kernels::avx2
