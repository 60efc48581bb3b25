// Keys and values in pairs of bfloat16, as vdpbf16ps takes them, for avx512_bf16_attention.cc: read
// from the KV arena (kv_arena.h), or from a copy that has them in pairs already.
//
// A vector of pairs of keys has dimensions 2 p and 2 p + 1 of 16 tokens; one of values has the
// tokens 2 i and 2 i + 1 of 16 dimensions.
#ifndef PHALANX_KERNELS_CPU_AVX512_BF16_PAIRS_H_
#define PHALANX_KERNELS_CPU_AVX512_BF16_PAIRS_H_

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/attention_task.h"
#include "kernels/cpu/avx512.h"
#include "kernels/cpu/kv_arena.h"

namespace phalanx::kernels::avx512 {
namespace {

constexpr int kPairLanes = 16;
constexpr int kPairsOfBlock = kKvBlockTokens / 2;
static_assert(kKvBlockTokens == kPairLanes);

// Pairs of dimensions of a key, and whole vectors of dimensions of a value.
constexpr int KeyPairs(int head_dim) { return (head_dim + 1) / 2; }
constexpr int ValueVectors(int head_dim) { return (head_dim + kPairLanes - 1) / kPairLanes; }

// The numbers at `first` and `second` that `mask` has, in turns; zeros for the others.
PHALANX_AVX512_BF16_INLINE __m512i InPairs(const uint16_t* first, const uint16_t* second,
                                           __mmask16 mask) {
  const __m512i order = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40,
                                         8, 39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  return _mm512_permutex2var_epi16(_mm512_castsi256_si512(_mm256_maskz_loadu_epi16(mask, first)),
                                   order,
                                   _mm512_castsi256_si512(_mm256_maskz_loadu_epi16(mask, second)));
}

// Of levels of 8 bits, which bfloat16 has all: the upper halves of their floats.
PHALANX_AVX512_BF16_INLINE __m512i InPairs(const int8_t* first, const int8_t* second,
                                           __mmask16 mask) {
  const auto floats = [&](const int8_t* from) PHALANX_AVX512_BF16 {
    const __m512i levels = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask, from));
    return _mm512_castps_si512(_mm512_cvtepi32_ps(levels));
  };
  const __m512i upper = _mm512_and_si512(floats(second), _mm512_set1_epi32(-0x10000));
  return _mm512_or_si512(_mm512_srli_epi32(floats(first), 16), upper);
}

// Both sources have, for block b of a chunk: Keys(b), what KeyPair finds the pair p at; Values(b),
// what ValuePair finds the pair i of its tokens at, for 16 dimensions from d on. kWhole: all of the
// 16 are stored.
template <typename Element>
class ArenaSource {
 public:
  using Stored = Element;
  using Pointer = const Element*;

  // `blocks` are those of the chunk; `next` those of the next one, or null.
  PHALANX_AVX512_BF16_INLINE ArenaSource(const AttentionTask& task, const int32_t* blocks,
                                         const int32_t* next)
      : task_(task), blocks_(blocks), next_(next), stride_(KvArena::ValueStride(task.head_dim)) {}

  PHALANX_AVX512_BF16_INLINE Pointer Keys(int b) const {
    return reinterpret_cast<Pointer>(task_.keys + blocks_[b] * task_.block_stride);
  }
  PHALANX_AVX512_BF16_INLINE Pointer Values(int b) const {
    return reinterpret_cast<Pointer>(task_.values + blocks_[b] * task_.block_stride);
  }
  PHALANX_AVX512_BF16_INLINE __m512i KeyPair(Pointer keys, int p) const {
    // The last of an odd number of dimensions is read twice; a query has 0 for the second.
    const int second = std::min(2 * p + 1, task_.head_dim - 1);
    return InPairs(keys + 2 * p * kKvBlockTokens, keys + second * kKvBlockTokens, 0xffff);
  }
  template <bool kWhole>
  PHALANX_AVX512_BF16_INLINE __m512i ValuePair(Pointer values, int i, int d) const {
    const Pointer first = values + 2 * i * stride_ + d;
    const auto mask = static_cast<__mmask16>(kWhole ? 0xffff : (1 << (stride_ - d)) - 1);
    return InPairs(first, first + stride_, mask);
  }

  // To be called for each pair of block b's keys and values: while keys are scored, values are read
  // from memory, and while these are mixed, the next chunk's keys.
  PHALANX_AVX512_BF16_INLINE void AtKeyPair(int b, int p) const {
    Prefetch(Values(b) + 2 * p * kKvBlockTokens);
  }
  PHALANX_AVX512_BF16_INLINE void AtValuePair(int b, int i) const {
    if (next_ == nullptr) return;
    const auto keys = reinterpret_cast<Pointer>(task_.keys + next_[b] * task_.block_stride);
    const int count = 2 * task_.head_dim;
    for (int at = 0; at < count; at += kLine) Prefetch(keys + i * count + at);
  }

 private:
  static constexpr int kLine = 64 / sizeof(Element);
  static PHALANX_AVX512_BF16_INLINE void Prefetch(Pointer at) {
    _mm_prefetch(reinterpret_cast<const char*>(at), _MM_HINT_T0);
  }

  const AttentionTask& task_;
  const int32_t* const blocks_;
  const int32_t* const next_;
  const int stride_;
};

// The keys and values of a chunk, copied in pairs.
template <typename Element>
class PackedSource {
 public:
  using Stored = Element;  // In the arena, which still has the scales.
  using Pointer = const uint32_t*;

  // Words for `blocks` blocks.
  static int64_t Words(int blocks, int head_dim) {
    return int64_t{blocks} * kPairLanes *
           (KeyPairs(head_dim) + kPairsOfBlock * ValueVectors(head_dim));
  }

  // Keys, then values; each block by block.
  PHALANX_AVX512_BF16_INLINE PackedSource(const uint32_t* words, int blocks, int head_dim)
      : key_words_(KeyPairs(head_dim) * kPairLanes),
        value_words_(ValueVectors(head_dim) * kPairLanes),
        keys_(words),
        values_(words + int64_t{blocks} * key_words_) {}

  PHALANX_AVX512_BF16_INLINE Pointer Keys(int b) const { return keys_ + b * key_words_; }
  PHALANX_AVX512_BF16_INLINE Pointer Values(int b) const {
    return values_ + b * kPairsOfBlock * value_words_;
  }
  PHALANX_AVX512_BF16_INLINE __m512i KeyPair(Pointer keys, int p) const {
    return _mm512_loadu_si512(keys + p * kPairLanes);
  }
  template <bool kWhole>
  PHALANX_AVX512_BF16_INLINE __m512i ValuePair(Pointer values, int i, int d) const {
    return _mm512_loadu_si512(values + i * value_words_ + d);
  }
  PHALANX_AVX512_BF16_INLINE void AtKeyPair(int, int) const {}
  PHALANX_AVX512_BF16_INLINE void AtValuePair(int, int) const {}

 private:
  const int key_words_;    // Of a block.
  const int value_words_;  // Of a pair of tokens.
  const Pointer keys_;
  const Pointer values_;
};

// Copies `used` blocks of a chunk to where PackedSource, for `blocks` blocks, looks for them.
template <typename Element>
PHALANX_AVX512_BF16 void PackBlocks(const AttentionTask& task, const int32_t* of_chunk, int used,
                                    int blocks, uint32_t* words) {
  const ArenaSource<Element> arena(task, of_chunk, nullptr);
  const int key_pairs = KeyPairs(task.head_dim);
  const int vectors = ValueVectors(task.head_dim);
  uint32_t* keys_to = words;
  uint32_t* values_to = words + int64_t{blocks} * key_pairs * kPairLanes;
  for (int b = 0; b < used; ++b) {
    const auto keys = arena.Keys(b);
    for (int p = 0; p < key_pairs; ++p, keys_to += kPairLanes) {
      _mm512_storeu_si512(keys_to, arena.KeyPair(keys, p));
    }
    const auto values = arena.Values(b);
    for (int i = 0; i < kPairsOfBlock; ++i) {
      for (int v = 0; v < vectors; ++v, values_to += kPairLanes) {
        const int d = v * kPairLanes;
        const bool is_whole = d + kPairLanes <= KvArena::ValueStride(task.head_dim);
        _mm512_storeu_si512(values_to, is_whole ? arena.template ValuePair<true>(values, i, d)
                                                : arena.template ValuePair<false>(values, i, d));
      }
    }
  }
}

}  // namespace
}  // namespace phalanx::kernels::avx512

#endif  // PHALANX_KERNELS_CPU_AVX512_BF16_PAIRS_H_
