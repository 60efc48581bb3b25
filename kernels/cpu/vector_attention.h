// Attention with a softmax that sees each key once, for any vectors. Includers are sources for one
// kind of instructions: they define PHALANX_TARGET, the attribute of functions that may use these,
// and a class of vectors:
//
//   struct Vectors {
//     using Floats = ...;                          kLanes floats, 8 or 16
//     static constexpr int kLanes, kRows;          the most rows that registers hold sums for
//     static constexpr int ScoreBlocks(int rows);  blocks that are scored at once
//     static constexpr int MixVectors(int rows);   vectors of dimensions that are mixed at once
//     Zero, Broadcast, Load, Store, LoadFirst, StoreFirst, LoadKv, Add, Multiply, MultiplyAdd, Max,
//     KeepFirst (x in the first n lanes, else `other`), Exp, SumLanes, MaxLanes
//   };
//
// How it works. Keys come in chunks, and a row's sums are relative to the largest score so far:
// when a chunk has a larger one, what was summed before shrinks. So the scores of a long context
// never have to be kept. Source: Milakov and Gimelshein 2018, "Online normalizer calculation for
// softmax", arXiv 1805.02867. All rows of a tile use a chunk before the next one is read.
//
// Chunks and segments are counted from the sequence's first token, and a row's sums take its own
// keys only: so its bits do not depend on the other rows of a tile, nor on how steps are cut or
// segments shared out.
#ifndef PHALANX_KERNELS_CPU_VECTOR_ATTENTION_H_
#define PHALANX_KERNELS_CPU_VECTOR_ATTENTION_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "kernels/cpu/attention_task.h"
#include "kernels/cpu/kv_arena.h"

#define PHALANX_TARGET_INLINE PHALANX_TARGET __attribute__((always_inline)) inline

namespace phalanx::kernels {
namespace {

// Keys between two updates of the running maximum, in blocks and in tokens. The scores of a chunk
// are at most 8 KiB, which stay in the first-level cache while they are turned into weights and
// used.
constexpr int kChunkBlocks = 16;
constexpr int kChunkTokens = kChunkBlocks * kKvBlockTokens;
static_assert(kAttentionSegmentTokens % kChunkTokens == 0);

// Whether keys and values have scales.
template <typename Element>
inline constexpr bool kHasScales = sizeof(Element) == 1;

// Some rows of a tile and the keys of a chunk.
template <int kRows>
struct Chunk {
  const int32_t* blocks;  // The sequence's block numbers, beginning with the chunk's first.
  int num_keys;           // Of the row that sees most, 1 to kChunkTokens.
  int common_keys;        // Of the row that sees fewest.
  int row_keys[kRows];    // Of each row, at least 1.
  const float* query[kRows];
  float* state[kRows];  // AttentionState.
  // Scores, then weights relative to the running maximum.
  alignas(64) float p[kRows][kChunkTokens];
  float shrink[kRows];  // The factor for older sums.
};

// The scales of a block: those of keys, then those of values.
PHALANX_TARGET_INLINE const float* ScalesOf(const AttentionTask& task, int32_t block) {
  return reinterpret_cast<const float*>(task.scales + block * task.block_stride);
}

// Scores the tokens of kBlocks blocks, of which the first holds token `first` of the chunk. Slots
// past a row's last key get scores too, of whatever they hold, perhaps NaN; nobody looks at these.
// Keys lie across in the arena, [head_dim, kKvBlockTokens]: a vector holds one dimension of several
// tokens, so a score is finished in its lane without a sum over lanes.
template <typename Vectors, typename Element, int kRows, int kBlocks>
PHALANX_TARGET_INLINE void ScoreBlocksAt(const AttentionTask& task, int first,
                                         Chunk<kRows>& chunk) {
  using Floats = typename Vectors::Floats;
  constexpr int kPerBlock = kKvBlockTokens / Vectors::kLanes;
  constexpr int kCount = kBlocks * kPerBlock;
  const Element* keys[kBlocks];
#pragma GCC unroll 4
  for (int b = 0; b < kBlocks; ++b) {
    keys[b] = reinterpret_cast<const Element*>(
        task.keys + chunk.blocks[first / kKvBlockTokens + b] * task.block_stride);
  }
  Floats sum[kRows][kCount];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kCount; ++v) sum[r][v] = Vectors::Zero();
  }
  for (int d = 0; d < task.head_dim; ++d) {
    Floats key[kCount];
#pragma GCC unroll 8
    for (int v = 0; v < kCount; ++v) {
      key[v] = Vectors::LoadKv(keys[v / kPerBlock] + d * kKvBlockTokens +
                               v % kPerBlock * Vectors::kLanes);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Floats q = Vectors::Broadcast(chunk.query[r][d]);
#pragma GCC unroll 8
      for (int v = 0; v < kCount; ++v) sum[r][v] = Vectors::MultiplyAdd(q, key[v], sum[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < kCount; ++v) {
    const int at = first + v * Vectors::kLanes;
    Floats factor = Vectors::Broadcast(task.scale);
    if constexpr (kHasScales<Element>) {
      const float* const scales = ScalesOf(task, chunk.blocks[at / kKvBlockTokens]);
      factor = Vectors::Multiply(factor, Vectors::Load(scales + at % kKvBlockTokens));
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      Vectors::Store(chunk.p[r] + at, Vectors::Multiply(sum[r][v], factor));
    }
  }
}

// p = scale * query . key for the whole chunk.
template <typename Vectors, typename Element, int kRows>
PHALANX_TARGET_INLINE void Score(const AttentionTask& task, Chunk<kRows>& chunk) {
  constexpr int kBlocks = Vectors::ScoreBlocks(kRows);
  int first = 0;
  // kBlocks at a time only while the last of them holds a key: past the sequence's last block, the
  // block table holds no block numbers.
  for (; first + (kBlocks - 1) * kKvBlockTokens < chunk.num_keys;
       first += kBlocks * kKvBlockTokens) {
    ScoreBlocksAt<Vectors, Element, kRows, kBlocks>(task, first, chunk);
  }
  for (; first < chunk.num_keys; first += kKvBlockTokens) {
    ScoreBlocksAt<Vectors, Element, kRows, 1>(task, first, chunk);
  }
}

// Turns the scores of one row into weights and adds them to its sum.
template <typename Vectors, int kRows>
PHALANX_TARGET_INLINE void Exponentiate(int r, Chunk<kRows>& chunk) {
  using Floats = typename Vectors::Floats;
  constexpr int kLanes = Vectors::kLanes;
  float* const p = chunk.p[r];
  const int keys = chunk.row_keys[r];
  const AttentionState state = {chunk.state[r]};
  const Floats old_max = Vectors::Broadcast(state.max());
  Floats max = old_max;
  for (int i = 0; i < keys; i += kLanes) {
    max = Vectors::Max(max, Vectors::KeepFirst(Vectors::Load(p + i), keys - i, old_max));
  }
  const Floats new_max = Vectors::Broadcast(Vectors::MaxLanes(max));
  Floats sum = Vectors::Zero();
  for (int i = 0; i < keys; i += kLanes) {
    // Exp of a very low score is not 0 but exp(-87.3); only lanes past the last key are cleared.
    const Floats weight = Vectors::KeepFirst(
        Vectors::Exp(Vectors::Subtract(Vectors::Load(p + i), new_max)), keys - i, Vectors::Zero());
    Vectors::Store(p + i, weight);
    sum = Vectors::Add(sum, weight);
  }
  // In the first chunk the old maximum is -infinity, and the factor multiplies sums that are 0.
  const float shrink = Vectors::First(Vectors::Exp(Vectors::Subtract(old_max, new_max)));
  chunk.shrink[r] = shrink;
  state.max() = Vectors::First(new_max);
  state.sum() = state.sum() * shrink + Vectors::SumLanes(sum);
}

// Where the values of the chunk's token `s` lie from dimension `d` on, and their scale.
template <typename Element>
struct ValueAt {
  const Element* values;
  float scale;

  PHALANX_TARGET_INLINE ValueAt(const AttentionTask& task, const int32_t* blocks, int s, int d) {
    const int32_t block = blocks[s / kKvBlockTokens];
    const int slot = s % kKvBlockTokens;
    values = reinterpret_cast<const Element*>(task.values + block * task.block_stride) +
             slot * KvArena::ValueStride(task.head_dim) + d;
    scale = 1.0f;
    if constexpr (kHasScales<Element>) scale = ScalesOf(task, block)[kKvBlockTokens + slot];
  }
};

// values = values * shrink + p . values of the chunk, for kCount vectors of dimensions, of which
// the first begins at dimension `d`. The rows of values are padded to whole vectors of eight
// (kv_arena.h), and those of states to whole vectors.
template <typename Vectors, typename Element, int kRows, int kCount>
PHALANX_TARGET_INLINE void Mix(const AttentionTask& task, int d, Chunk<kRows>& chunk) {
  using Floats = typename Vectors::Floats;
  constexpr int kLanes = Vectors::kLanes;
  Floats sum[kRows][kCount];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    const Floats shrink = Vectors::Broadcast(chunk.shrink[r]);
#pragma GCC unroll 8
    for (int v = 0; v < kCount; ++v) {
      const float* const from = AttentionState{chunk.state[r]}.values() + d + v * kLanes;
      sum[r][v] = Vectors::Multiply(Vectors::Load(from), shrink);
    }
  }
  for (int first = 0; first < chunk.common_keys; first += kKvBlockTokens) {
    const ValueAt<Element> block(task, chunk.blocks, first, d);
    const int count = std::min(kKvBlockTokens, chunk.common_keys - first);
    const Element* values = block.values;
    const float* scales = nullptr;
    if constexpr (kHasScales<Element>) {
      scales = ScalesOf(task, chunk.blocks[first / kKvBlockTokens]) + kKvBlockTokens;
    }
    for (int s = 0; s < count; ++s, values += KvArena::ValueStride(task.head_dim)) {
      Floats value[kCount];
#pragma GCC unroll 8
      for (int v = 0; v < kCount; ++v) value[v] = Vectors::LoadKv(values + v * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        float weight = chunk.p[r][first + s];
        if constexpr (kHasScales<Element>) weight *= scales[s];
        const Floats p = Vectors::Broadcast(weight);
#pragma GCC unroll 8
        for (int v = 0; v < kCount; ++v) sum[r][v] = Vectors::MultiplyAdd(p, value[v], sum[r][v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    // Keys that other rows do not see: a product of a value that is no number with a weight of zero
    // would be no number either.
    for (int s = chunk.common_keys; s < chunk.row_keys[r]; ++s) {
      const ValueAt<Element> at(task, chunk.blocks, s, d);
      float weight = chunk.p[r][s];
      if constexpr (kHasScales<Element>) weight *= at.scale;
      const Floats p = Vectors::Broadcast(weight);
#pragma GCC unroll 8
      for (int v = 0; v < kCount; ++v) {
        sum[r][v] = Vectors::MultiplyAdd(p, Vectors::LoadKv(at.values + v * kLanes), sum[r][v]);
      }
    }
#pragma GCC unroll 8
    for (int v = 0; v < kCount; ++v) {
      Vectors::Store(AttentionState{chunk.state[r]}.values() + d + v * kLanes, sum[r][v]);
    }
  }
}

// Adds the keys from `first_key` on, those of one chunk, to the states of kRows rows from `row` on.
template <typename Vectors, typename Element, int kRows>
PHALANX_TARGET __attribute__((noinline)) void AddChunk(const AttentionTask& task, int row,
                                                       int64_t first_key, float* states) {
  Chunk<kRows> chunk;
  chunk.blocks = task.blocks + first_key / kKvBlockTokens;
  chunk.num_keys = 0;
  chunk.common_keys = kChunkTokens;
  for (int r = 0; r < kRows; ++r) {
    chunk.query[r] = task.query_of(row + r);
    chunk.state[r] = states + (row + r) * AttentionState::Floats(task.head_dim);
    chunk.row_keys[r] =
        static_cast<int>(std::min<int64_t>(kChunkTokens, task.num_keys_of(row + r) - first_key));
    chunk.num_keys = std::max(chunk.num_keys, chunk.row_keys[r]);
    chunk.common_keys = std::min(chunk.common_keys, chunk.row_keys[r]);
  }
  Score<Vectors, Element>(task, chunk);
  for (int r = 0; r < kRows; ++r) Exponentiate<Vectors>(r, chunk);
  constexpr int kCount = Vectors::MixVectors(kRows);
  const int stride = KvArena::ValueStride(task.head_dim);
  int d = 0;
  for (; d + kCount * Vectors::kLanes <= stride; d += kCount * Vectors::kLanes) {
    Mix<Vectors, Element, kRows, kCount>(task, d, chunk);
  }
  for (; d + Vectors::kLanes <= stride; d += Vectors::kLanes) {
    Mix<Vectors, Element, kRows, 1>(task, d, chunk);
  }
  if (d < stride) Mix<typename Vectors::Half, Element, kRows, 1>(task, d, chunk);
}

template <typename Vectors, typename Element>
void AddRows(const AttentionTask& task, int row, int rows, int64_t first_key, float* states) {
  using Function = void (*)(const AttentionTask&, int, int64_t, float*);
  static constexpr Function kByRows[] = {AddChunk<Vectors, Element, 1>,
                                         AddChunk<Vectors, Element, 2>,
                                         AddChunk<Vectors, Element, 3>,
                                         AddChunk<Vectors, Element, 4>,
                                         AddChunk<Vectors, Element, std::min(5, Vectors::kRows)>,
                                         AddChunk<Vectors, Element, std::min(6, Vectors::kRows)>,
                                         AddChunk<Vectors, Element, std::min(7, Vectors::kRows)>,
                                         AddChunk<Vectors, Element, std::min(8, Vectors::kRows)>};
  // Of about the same height: a tile of one row has too few sums to keep the processor busy.
  while (rows > 0) {
    const int parts = (rows + Vectors::kRows - 1) / Vectors::kRows;
    const int count = (rows + parts - 1) / parts;
    kByRows[count - 1](task, row, first_key, states);
    row += count;
    rows -= count;
  }
}

// The states of all rows over the keys of one segment.
template <typename Vectors, typename Element>
void SegmentOf(const AttentionTask& task, int64_t segment, float* states) {
  const int rows = task.num_tokens * task.num_heads;
  for (int r = 0; r < rows; ++r) {
    AttentionState{states + r * AttentionState::Floats(task.head_dim)}.Clear(task.head_dim);
  }
  const int64_t begin = segment * kAttentionSegmentTokens;
  const int64_t end =
      std::min<int64_t>(begin + kAttentionSegmentTokens, task.num_keys_of(rows - 1));
  for (int64_t first = begin; first < end; first += kChunkTokens) {
    // Later tokens see more keys: those that see none of these come first.
    int row = 0;
    while (task.num_keys_of(row) <= first) row += task.num_heads;
    AddRows<Vectors, Element>(task, row, rows - row, first, states);
  }
}

template <typename Vectors>
void SegmentOfTask(const AttentionTask& task, int64_t segment, float* states) {
  if (task.dtype == KvDType::kInt8) return SegmentOf<Vectors, int8_t>(task, segment, states);
  if (task.dtype == KvDType::kBF16) return SegmentOf<Vectors, uint16_t>(task, segment, states);
  SegmentOf<Vectors, float>(task, segment, states);
}

}  // namespace
}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_VECTOR_ATTENTION_H_
