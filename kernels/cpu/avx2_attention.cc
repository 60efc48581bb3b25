// Attention of one token with a softmax that sees each key once: keys come in chunks, and `out`
// holds the values weighed relative to the largest score so far. When a chunk has a larger score,
// what was summed before shrinks. So the scores of a long context never have to be kept.
//
// Source: Milakov and Gimelshein 2018, "Online normalizer calculation for softmax", arXiv
// 1805.02867.
#include <limits>

#include "kernels/cpu/avx2.h"
#include "kernels/cpu/avx2_kernels.h"
#include "kernels/cpu/kv_arena.h"

namespace phalanx::kernels::avx2 {
namespace {

// Query heads that are computed together, so that keys and values are loaded once for all of them.
// The sums of more heads would not fit the registers.
constexpr int kMaxHeads = 4;
// Keys between two updates of the running maximum, in blocks and in tokens. The scores of a chunk
// are at most 4 KiB, which stay in the first-level cache while they are turned into weights and
// used.
constexpr int kChunkBlocks = 16;
constexpr int kChunkTokens = kChunkBlocks * kKvBlockTokens;

// One chunk of the softmax of kHeads heads.
template <int kHeads>
struct Chunk {
  const int32_t* blocks;  // The sequence's block numbers, beginning with the chunk's first.
  int num_keys;           // 1 to kChunkTokens.
  // Scores, then weights relative to the running maximum.
  alignas(32) float p[kHeads][kChunkTokens];
};

// The softmax of kHeads heads over the chunks so far.
template <int kHeads>
struct Softmax {
  float max[kHeads];     // The largest score.
  float sum[kHeads];     // The sum of exp(score - max).
  float shrink[kHeads];  // exp(old max - new max) of the latest chunk: the factor for older sums.
};

// Eight elements of the KV cache: floats, upper halves of floats, and levels.
PHALANX_AVX2_INLINE __m256 LoadEight(const float* from) { return _mm256_loadu_ps(from); }
PHALANX_AVX2_INLINE __m256 LoadEight(const uint16_t* from) {
  const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}
PHALANX_AVX2_INLINE __m256 LoadEight(const int8_t* from) {
  const __m128i levels = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(levels));
}

// Whether keys and values have scales.
template <typename Element>
inline constexpr bool kHasScales = sizeof(Element) == 1;

// The scales of a block: those of keys, then those of values.
PHALANX_AVX2_INLINE const float* ScalesOf(const AttentionTask& task, int32_t block) {
  return reinterpret_cast<const float*>(task.scales + block * task.block_stride);
}

// Blocks that are scored at once, and vectors of dimensions that are mixed at once. Each vector of
// each head is a chain of multiply-adds, in which every one waits for the one before. A
// multiply-add takes about four cycles and two can start in each, so eight chains are needed to
// keep the processor busy. These numbers give 8 or 12 chains, which leaves some of the 16 registers
// free.
constexpr int ScoreBlocks(int heads) { return heads == 1 ? 4 : heads <= 3 ? 2 : 1; }
constexpr int MixVectors(int heads) { return heads == 1 ? 8 : heads <= 3 ? 4 : 2; }

// Scores the tokens of kBlocks blocks, of which the first holds token `first` of the chunk. Slots
// past the last key get -infinity. Keys lie across in the arena, [head_dim, kKvBlockTokens]: a
// vector holds one dimension of eight tokens, so a score is finished in its lane without a sum over
// lanes.
template <typename Element, int kHeads, int kBlocks>
PHALANX_AVX2_INLINE void ScoreBlocksAt(const AttentionTask& task, const float* query, int first,
                                       Chunk<kHeads>& chunk) {
  constexpr int kVectors = kBlocks * kKvBlockTokens / kLanes;
  const Element* keys[kBlocks];
#pragma GCC unroll 4
  for (int b = 0; b < kBlocks; ++b) {
    keys[b] = reinterpret_cast<const Element*>(
        task.keys + chunk.blocks[first / kKvBlockTokens + b] * task.block_stride);
  }
  __m256 sum[kHeads][kVectors];
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sum[h][v] = _mm256_setzero_ps();
  }
  for (int d = 0; d < task.head_dim; ++d) {
    __m256 q[kHeads];
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) q[h] = _mm256_broadcast_ss(query + h * task.head_dim + d);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      // A block of 16 tokens is two vectors.
      const __m256 key = LoadEight(keys[v / 2] + d * kKvBlockTokens + v % 2 * kLanes);
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) sum[h][v] = _mm256_fmadd_ps(q[h], key, sum[h][v]);
    }
  }
  const __m256 scale = _mm256_set1_ps(task.scale);
  const __m256 nothing = _mm256_set1_ps(-std::numeric_limits<float>::infinity());
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    const int at = first + v * kLanes;
    // Slots past the last key hold whatever an earlier owner of the block left, NaN perhaps: the
    // blend drops it, where a product with zero would not.
    const __m256 is_key = _mm256_castsi256_ps(FirstLanes(chunk.num_keys - at));
    __m256 factor = scale;
    if constexpr (kHasScales<Element>) {
      const float* const scales = ScalesOf(task, chunk.blocks[at / kKvBlockTokens]);
      factor = _mm256_mul_ps(factor, _mm256_loadu_ps(scales + at % kKvBlockTokens));
    }
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) {
      _mm256_store_ps(chunk.p[h] + at,
                      _mm256_blendv_ps(nothing, _mm256_mul_ps(sum[h][v], factor), is_key));
    }
  }
}

// p = scale * query . key for the whole chunk.
template <typename Element, int kHeads>
PHALANX_AVX2_INLINE void Score(const AttentionTask& task, const float* query,
                               Chunk<kHeads>& chunk) {
  constexpr int kBlocks = ScoreBlocks(kHeads);
  int first = 0;
  // kBlocks at a time only while the last of them holds a key: past the sequence's last block, the
  // block table holds no block numbers.
  for (; first + (kBlocks - 1) * kKvBlockTokens < chunk.num_keys;
       first += kBlocks * kKvBlockTokens) {
    ScoreBlocksAt<Element, kHeads, kBlocks>(task, query, first, chunk);
  }
  for (; first < chunk.num_keys; first += kKvBlockTokens) {
    ScoreBlocksAt<Element, kHeads, 1>(task, query, first, chunk);
  }
}

// Turns the scores of one head into weights and adds them to the running sum.
template <int kHeads>
PHALANX_AVX2_INLINE void Exponentiate(int h, Chunk<kHeads>& chunk, Softmax<kHeads>& softmax) {
  float* p = chunk.p[h];
  __m256 max = _mm256_set1_ps(softmax.max[h]);
  for (int i = 0; i < chunk.num_keys; i += kLanes) max = _mm256_max_ps(max, _mm256_load_ps(p + i));
  const __m256 new_max = _mm256_set1_ps(MaxLanes(max));
  const __m256 zero = _mm256_setzero_ps();
  __m256 sum = zero;
  for (int i = 0; i < chunk.num_keys; i += kLanes) {
    // Exp of -infinity is not 0 but exp(-87.3), so lanes past the last key are cleared.
    const __m256 weight = _mm256_and_ps(Exp(_mm256_sub_ps(_mm256_load_ps(p + i), new_max)),
                                        _mm256_castsi256_ps(FirstLanes(chunk.num_keys - i)));
    _mm256_store_ps(p + i, weight);
    sum = _mm256_add_ps(sum, weight);
  }
  // In the first chunk the old maximum is -infinity, and the factor multiplies sums that are 0.
  const __m256 shrink = Exp(_mm256_sub_ps(_mm256_set1_ps(softmax.max[h]), new_max));
  softmax.shrink[h] = _mm256_cvtss_f32(shrink);
  softmax.max[h] = _mm256_cvtss_f32(new_max);
  softmax.sum[h] = softmax.sum[h] * softmax.shrink[h] + SumLanes(sum);
}

// out = out * shrink + p . values, for kVectors vectors of dimensions, of which the first begins at
// dimension `d` and the last may reach past head_dim. The rows of values are padded to whole
// vectors (kv_arena.h), so they can be read whole; `out` is not padded.
template <typename Element, int kHeads, int kVectors>
PHALANX_AVX2_INLINE void Mix(const AttentionTask& task, const Chunk<kHeads>& chunk,
                             const Softmax<kHeads>& softmax, int d, float* out) {
  const int value_stride = KvArena::ValueStride(task.head_dim);
  __m256 sum[kHeads][kVectors];
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
    const __m256 shrink = _mm256_broadcast_ss(softmax.shrink + h);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const int at = d + v * kLanes;
      sum[h][v] =
          _mm256_mul_ps(LoadFirst(out + h * task.head_dim + at, task.head_dim - at), shrink);
    }
  }
  const Element* values = nullptr;
  const float* scales = nullptr;
  for (int s = 0; s < chunk.num_keys; ++s, values += value_stride) {
    if (s % kKvBlockTokens == 0) {
      const int32_t block = chunk.blocks[s / kKvBlockTokens];
      values = reinterpret_cast<const Element*>(task.values + block * task.block_stride) + d;
      if constexpr (kHasScales<Element>) scales = ScalesOf(task, block) + kKvBlockTokens;
    }
    __m256 p[kHeads];
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) {
      p[h] = _mm256_broadcast_ss(chunk.p[h] + s);
      if constexpr (kHasScales<Element>) {
        p[h] = _mm256_mul_ps(p[h], _mm256_broadcast_ss(scales + s % kKvBlockTokens));
      }
    }
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const __m256 value = LoadEight(values + v * kLanes);
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) sum[h][v] = _mm256_fmadd_ps(p[h], value, sum[h][v]);
    }
  }
#pragma GCC unroll 4
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const int at = d + v * kLanes;
      StoreFirst(out + h * task.head_dim + at, task.head_dim - at, sum[h][v]);
    }
  }
}

// kHeads query heads, of which `first_head` is the first. Chunks are counted from the sequence's
// first token, never from the step's: that makes a token's output the same bits however steps are
// cut.
template <typename Element, int kHeads>
PHALANX_AVX2 void Attend(const AttentionTask& task, int first_head) {
  const float* query = task.query + first_head * task.head_dim;
  float* out = task.out + first_head * task.head_dim;
  Softmax<kHeads> softmax;
  for (int h = 0; h < kHeads; ++h) {
    softmax.max[h] = -std::numeric_limits<float>::infinity();
    softmax.sum[h] = 0.0f;
  }
  std::fill_n(out, kHeads * task.head_dim, 0.0f);
  Chunk<kHeads> chunk;
  for (int64_t first = 0; first < task.num_keys; first += kChunkTokens) {
    chunk.blocks = task.blocks + first / kKvBlockTokens;
    chunk.num_keys = static_cast<int>(std::min<int64_t>(kChunkTokens, task.num_keys - first));
    Score<Element>(task, query, chunk);
    for (int h = 0; h < kHeads; ++h) Exponentiate(h, chunk, softmax);
    constexpr int kVectors = MixVectors(kHeads);
    int d = 0;
    for (; d + kVectors * kLanes <= task.head_dim; d += kVectors * kLanes) {
      Mix<Element, kHeads, kVectors>(task, chunk, softmax, d, out);
    }
    for (; d < task.head_dim; d += kLanes) Mix<Element, kHeads, 1>(task, chunk, softmax, d, out);
  }
  for (int h = 0; h < kHeads; ++h) {
    const float inverse = 1.0f / softmax.sum[h];
    for (int d = 0; d < task.head_dim; ++d) out[h * task.head_dim + d] *= inverse;
  }
}

template <typename Element>
PHALANX_AVX2 void AttendAll(const AttentionTask& task) {
  int head = 0;
  for (; head + kMaxHeads <= task.num_heads; head += kMaxHeads) {
    Attend<Element, kMaxHeads>(task, head);
  }
  switch (task.num_heads - head) {
    case 1:
      return Attend<Element, 1>(task, head);
    case 2:
      return Attend<Element, 2>(task, head);
    case 3:
      return Attend<Element, 3>(task, head);
  }
}

}  // namespace

void Attention(const AttentionTask& task) {
  if (task.dtype == KvDType::kInt8) return AttendAll<int8_t>(task);
  if (task.dtype == KvDType::kBF16) return AttendAll<uint16_t>(task);
  AttendAll<float>(task);
}

}  // namespace phalanx::kernels::avx2
