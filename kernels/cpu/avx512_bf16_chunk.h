// Attention of some rows to a chunk of keys in bfloat16, for avx512_bf16_attention.cc.
//
// Queries, multiplied by the scale and by log2(e), and weights are rounded to bfloat16; keys and
// values are as they are stored. Scores, maxima, weights and all sums are float32. So a state's
// maximum is one of powers of two: a weight is 2^(score - maximum).
//
// A row's sums take its own keys only, in ascending order from the chunk's first: its bits do not
// depend on the rows beside it.
#ifndef PHALANX_KERNELS_CPU_AVX512_BF16_CHUNK_H_
#define PHALANX_KERNELS_CPU_AVX512_BF16_CHUNK_H_

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/avx2.h"
#include "kernels/cpu/avx512_bf16_pairs.h"

namespace phalanx::kernels::avx512 {
namespace {

// Keys between two updates of the running maximum. In pairs, those of a chunk and their values are
// 32 KiB for heads of 64 dimensions.
constexpr int kBf16ChunkBlocks = 8;
constexpr int kBf16ChunkTokens = kBf16ChunkBlocks * kKvBlockTokens;
static_assert(kAttentionSegmentTokens % kBf16ChunkTokens == 0);

// The most rows at once: 24 sums of 32 registers.
constexpr int kBf16Rows = 6;
// Blocks that are scored, and vectors of dimensions that are mixed, at once: a dot product takes
// six cycles and two can start in each, so 12 sums keep the processor busy.
constexpr int Bf16Vectors(int rows) { return rows <= 2 ? 8 : 4; }

// Some rows of a tile and the keys of a chunk.
template <int kRows>
struct Bf16Chunk {
  const int32_t* blocks;         // The sequence's block numbers, beginning with the chunk's first.
  int num_keys;                  // Of the row that sees most, 1 to kBf16ChunkTokens.
  int common_keys;               // Of the row that sees fewest.
  int row_keys[kRows];           // Of each row, at least 1.
  const uint32_t* query[kRows];  // In pairs.
  float* state[kRows];           // AttentionState.
  alignas(64) float scores[kRows][kBf16ChunkTokens];
  alignas(64) uint32_t weights[kRows][kBf16ChunkTokens / 2];  // In pairs.
  alignas(64) float shrink[kPairLanes];  // The factors for older sums, one for each row.
};

PHALANX_AVX512_BF16_INLINE __m512 AddDots(__m512 sum, uint32_t pair, __m512i pairs) {
  return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(static_cast<int>(pair)),
                          (__m512bh)pairs);
}

// 2^x for x up to 0, and 0 for -infinity. The polynomial, found by interpolation in Chebyshev's
// nodes, is off by 2.6e-7 of its value at most on [0, 1].
PHALANX_AVX512_BF16_INLINE __m512 Exp2(__m512 x) {
  const __m512 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  __m512 series = _mm512_set1_ps(0x1.d4cf66p-10f);
  series = _mm512_fmadd_ps(series, f, _mm512_set1_ps(0x1.2d720ep-7f));
  series = _mm512_fmadd_ps(series, f, _mm512_set1_ps(0x1.c7f14ep-5f));
  series = _mm512_fmadd_ps(series, f, _mm512_set1_ps(0x1.ebf1cp-3f));
  series = _mm512_fmadd_ps(series, f, _mm512_set1_ps(0x1.62e43cp-1f));
  series = _mm512_fmadd_ps(series, f, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(series, x);
}

// Those of the chunk's keys from 16 v on that a row sees which sees `keys`.
PHALANX_AVX512_BF16_INLINE __mmask16 KeysSeen(int keys, int v) {
  const int left = std::clamp(keys - v * kPairLanes, 0, kPairLanes);
  return static_cast<__mmask16>((1 << left) - 1);
}

// The scales of a block: those of keys, then those of values.
PHALANX_AVX512_BF16_INLINE const float* Bf16ScalesOf(const AttentionTask& task, int32_t block) {
  return reinterpret_cast<const float*>(task.scales + block * task.block_stride);
}

// Scores the tokens of kBlocks blocks from block `first` of the chunk on. Slots past a row's last
// key get scores too, of whatever they hold; nobody looks at these.
template <typename Source, int kRows, int kBlocks>
PHALANX_AVX512_BF16_INLINE void ScoreBlocks(const AttentionTask& task, const Source& source,
                                            int first, Bf16Chunk<kRows>& chunk) {
  typename Source::Pointer keys[kBlocks];
#pragma GCC unroll 8
  for (int b = 0; b < kBlocks; ++b) keys[b] = source.Keys(first + b);
  __m512 sum[kRows][kBlocks];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int b = 0; b < kBlocks; ++b) sum[r][b] = _mm512_setzero_ps();
  }
  const int pairs = KeyPairs(task.head_dim);
  for (int p = 0; p < pairs; ++p) {
    __m512i key[kBlocks];
#pragma GCC unroll 8
    for (int b = 0; b < kBlocks; ++b) {
      key[b] = source.KeyPair(keys[b], p);
      source.AtKeyPair(first + b, p);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int b = 0; b < kBlocks; ++b) sum[r][b] = AddDots(sum[r][b], chunk.query[r][p], key[b]);
    }
  }
#pragma GCC unroll 8
  for (int b = 0; b < kBlocks; ++b) {
    __m512 scale = _mm512_set1_ps(1.0f);
    if constexpr (sizeof(typename Source::Stored) == 1) {
      scale = _mm512_loadu_ps(Bf16ScalesOf(task, chunk.blocks[first + b]));
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      if constexpr (sizeof(typename Source::Stored) == 1) {
        sum[r][b] = _mm512_mul_ps(sum[r][b], scale);
      }
      _mm512_store_ps(chunk.scores[r] + (first + b) * kKvBlockTokens, sum[r][b]);
    }
  }
}

template <typename Source, int kRows>
PHALANX_AVX512_BF16_INLINE void Bf16Score(const AttentionTask& task, const Source& source,
                                          Bf16Chunk<kRows>& chunk) {
  constexpr int kBlocks = Bf16Vectors(kRows);
  const int blocks = (chunk.num_keys + kKvBlockTokens - 1) / kKvBlockTokens;
  int b = 0;
  for (; b + kBlocks <= blocks; b += kBlocks) {
    ScoreBlocks<Source, kRows, kBlocks>(task, source, b, chunk);
  }
  for (; b < blocks; ++b) ScoreBlocks<Source, kRows, 1>(task, source, b, chunk);
}

// The largest lane, and the sum of all.
PHALANX_AVX512_BF16_INLINE float MaxOf(__m512 x) {
  return avx2::MaxLanes(_mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1)));
}
PHALANX_AVX512_BF16_INLINE float SumOf(__m512 x) {
  return avx2::SumLanes(_mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1)));
}

// Turns the scores of a row into weights, and returns their sums by lanes. Those past its last key
// are 0.
template <typename Element, bool kFull, int kRows>
PHALANX_AVX512_BF16_INLINE __m512 WeighRow(const AttentionTask& task, int r, __m512 max,
                                           Bf16Chunk<kRows>& chunk) {
  __m512 sum = _mm512_setzero_ps();
  // One vector of scores.
  const auto weigh = [&](int v) PHALANX_AVX512_BF16 {
    const __m512 score = _mm512_load_ps(chunk.scores[r] + v * kPairLanes);
    __m512 weight = Exp2(_mm512_sub_ps(score, max));
    if (!kFull) weight = _mm512_maskz_mov_ps(KeysSeen(chunk.row_keys[r], v), weight);
    sum = _mm512_add_ps(sum, weight);
    if constexpr (sizeof(Element) == 1) {
      const float* const scales = Bf16ScalesOf(task, chunk.blocks[v]) + kKvBlockTokens;
      weight = _mm512_mul_ps(weight, _mm512_loadu_ps(scales));
      if (!kFull) weight = _mm512_maskz_mov_ps(KeysSeen(chunk.row_keys[r], v), weight);
    }
    return weight;
  };
  auto* const to = chunk.weights[r];
  const int vectors = kFull ? kBf16ChunkBlocks : (chunk.num_keys + kPairLanes - 1) / kPairLanes;
  int v = 0;
#pragma GCC unroll 4
  for (; v + 2 <= vectors; v += 2) {
    const __m512 first = weigh(v);
    const auto both = _mm512_cvtne2ps_pbh(weigh(v + 1), first);
    _mm512_store_si512(to + v * kPairsOfBlock, (__m512i)both);
  }
  if (v < vectors) {
    const auto last = _mm512_cvtneps_pbh(weigh(v));
    _mm256_store_si256(reinterpret_cast<__m256i*>(to + v * kPairsOfBlock), (__m256i)last);
  }
  return sum;
}

// Turns scores into weights and adds these to the sums of their rows. kFull: all rows see all keys
// of the chunk. All rows take each step together, because steps wait for their results.
template <typename Element, bool kFull, int kRows>
PHALANX_AVX512_BF16_INLINE void Weigh(const AttentionTask& task, Bf16Chunk<kRows>& chunk) {
  const int vectors = kFull ? kBf16ChunkBlocks : (chunk.num_keys + kPairLanes - 1) / kPairLanes;
  alignas(64) float old_max[kPairLanes] = {};
  alignas(64) float new_max[kPairLanes] = {};
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    old_max[r] = AttentionState{chunk.state[r]}.max();
    __m512 max = _mm512_set1_ps(old_max[r]);
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) {
      const __m512 score = _mm512_load_ps(chunk.scores[r] + v * kPairLanes);
      max = kFull ? _mm512_max_ps(max, score)
                  : _mm512_mask_max_ps(max, KeysSeen(chunk.row_keys[r], v), max, score);
    }
    new_max[r] = MaxOf(max);
    AttentionState{chunk.state[r]}.max() = new_max[r];
  }
  // In the first chunk the old maximum is -infinity, and the factor multiplies sums that are 0.
  _mm512_store_ps(chunk.shrink,
                  Exp2(_mm512_sub_ps(_mm512_load_ps(old_max), _mm512_load_ps(new_max))));
  __m512 sum[kRows];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    sum[r] = WeighRow<Element, kFull>(task, r, _mm512_set1_ps(new_max[r]), chunk);
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    float& total = AttentionState{chunk.state[r]}.sum();
    total = total * chunk.shrink[r] + SumOf(sum[r]);
  }
}

// values = values * shrink + weights . values of the chunk, for kCount vectors of dimensions, of
// which the first begins at dimension `d`.
template <typename Source, int kRows, int kCount, bool kWhole>
PHALANX_AVX512_BF16_INLINE void Bf16Mix(const AttentionTask& task, const Source& source, int d,
                                        Bf16Chunk<kRows>& chunk) {
  __m512 sum[kRows][kCount];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    const __m512 shrink = _mm512_set1_ps(chunk.shrink[r]);
    const float* const from = AttentionState{chunk.state[r]}.values() + d;
#pragma GCC unroll 8
    for (int v = 0; v < kCount; ++v) {
      sum[r][v] = _mm512_mul_ps(_mm512_loadu_ps(from + v * kPairLanes), shrink);
    }
  }
  const int common_pairs = chunk.common_keys / 2;
  for (int first = 0; first < common_pairs; first += kPairsOfBlock) {
    const auto values = source.Values(first / kPairsOfBlock);
    const int count = std::min(kPairsOfBlock, common_pairs - first);
    for (int i = 0; i < count; ++i) {
      if (d == 0) source.AtValuePair(first / kPairsOfBlock, i);
      __m512i value[kCount];
#pragma GCC unroll 8
      for (int v = 0; v < kCount; ++v) {
        value[v] = source.template ValuePair<kWhole>(values, i, d + v * kPairLanes);
      }
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < kCount; ++v) {
          sum[r][v] = AddDots(sum[r][v], chunk.weights[r][first + i], value[v]);
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    // Keys that other rows do not see, and the second of the last pair, which this row does not: a
    // product of a value that is no number with a weight of zero would be no number either.
    for (int i = common_pairs; 2 * i < chunk.row_keys[r]; ++i) {
      const auto values = source.Values(i / kPairsOfBlock);
      const __m512i both = _mm512_set1_epi32(2 * i + 1 < chunk.row_keys[r] ? -1 : 0xffff);
#pragma GCC unroll 8
      for (int v = 0; v < kCount; ++v) {
        const __m512i value =
            source.template ValuePair<kWhole>(values, i % kPairsOfBlock, d + v * kPairLanes);
        sum[r][v] = AddDots(sum[r][v], chunk.weights[r][i], _mm512_and_si512(value, both));
      }
    }
    float* const to = AttentionState{chunk.state[r]}.values() + d;
#pragma GCC unroll 8
    for (int v = 0; v < kCount; ++v) _mm512_storeu_ps(to + v * kPairLanes, sum[r][v]);
  }
}

// Adds the keys of a chunk to the states of its rows. All of Bf16Chunk up to `state` is set.
template <typename Source, int kRows>
PHALANX_AVX512_BF16_INLINE void AddBf16Chunk(const AttentionTask& task, const Source& source,
                                             Bf16Chunk<kRows>& chunk) {
  using Element = typename Source::Stored;
  Bf16Score(task, source, chunk);
  if (chunk.common_keys == kBf16ChunkTokens) {
    Weigh<Element, true>(task, chunk);
  } else {
    Weigh<Element, false>(task, chunk);
  }
  constexpr int kCount = Bf16Vectors(kRows);
  const int stride = KvArena::ValueStride(task.head_dim);
  int d = 0;
  for (; d + kCount * kPairLanes <= stride; d += kCount * kPairLanes) {
    Bf16Mix<Source, kRows, kCount, true>(task, source, d, chunk);
  }
  if constexpr (kCount > 4) {
    if (d + 4 * kPairLanes <= stride) {
      Bf16Mix<Source, kRows, 4, true>(task, source, d, chunk);
      d += 4 * kPairLanes;
    }
  }
  for (; d + kPairLanes <= stride; d += kPairLanes) {
    Bf16Mix<Source, kRows, 1, true>(task, source, d, chunk);
  }
  if (d < stride) Bf16Mix<Source, kRows, 1, false>(task, source, d, chunk);
}

}  // namespace
}  // namespace phalanx::kernels::avx512

#endif  // PHALANX_KERNELS_CPU_AVX512_BF16_CHUNK_H_
