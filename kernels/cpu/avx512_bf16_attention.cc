#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/cpu/avx512_bf16_chunk.h"
#include "kernels/cpu/avx512_kernels.h"

namespace phalanx::kernels::avx512 {
namespace {

// From so many rows on keys and values are copied in pairs first, because all rows read them.
constexpr int kFewestRowsToPack = 12;

// The queries of all rows in pairs, [rows, KeyPairs], then the keys and values of a chunk.
int64_t QueryWords(int rows, int head_dim) { return int64_t{rows} * KeyPairs(head_dim); }

// Multiplied by the scale and by log2(e).
PHALANX_AVX512_BF16 void RoundQuery(const float* query, float scale, int head_dim, uint32_t* to) {
  const __m512 factor = _mm512_set1_ps(scale * 1.44269504f);
  for (int d = 0; d < head_dim; d += kPairLanes) {
    const int left = head_dim - d;
    const auto mask = static_cast<__mmask16>(left >= kPairLanes ? 0xffff : (1 << left) - 1);
    const __m256i rounded =
        (__m256i)_mm512_cvtneps_pbh(_mm512_mul_ps(_mm512_maskz_loadu_ps(mask, query + d), factor));
    // Words of two: an odd last number is followed by 0.
    const auto words = static_cast<__mmask8>(left >= kPairLanes ? 0xff : (1 << (left + 1) / 2) - 1);
    _mm256_mask_storeu_epi32(to + d / 2, words, rounded);
  }
}

// A task, and what does not change between its chunks.
struct Bf16Tile {
  const AttentionTask& task;
  float* states;
  const uint32_t* queries;
};

template <typename Source, int kRows>
PHALANX_AVX512_BF16 __attribute__((noinline)) void AddTo(const Bf16Tile& tile, const Source& source,
                                                         int row, int64_t first_key) {
  const AttentionTask& task = tile.task;
  Bf16Chunk<kRows> chunk;
  chunk.blocks = task.blocks + first_key / kKvBlockTokens;
  chunk.num_keys = 0;
  chunk.common_keys = kBf16ChunkTokens;
  for (int r = 0; r < kRows; ++r) {
    chunk.query[r] = tile.queries + QueryWords(row + r, task.head_dim);
    chunk.state[r] = tile.states + (row + r) * AttentionState::Floats(task.head_dim);
    chunk.row_keys[r] = static_cast<int>(
        std::min<int64_t>(kBf16ChunkTokens, task.num_keys_of(row + r) - first_key));
    chunk.num_keys = std::max(chunk.num_keys, chunk.row_keys[r]);
    chunk.common_keys = std::min(chunk.common_keys, chunk.row_keys[r]);
  }
  AddBf16Chunk(task, source, chunk);
}

template <typename Source>
void AddRows(const Bf16Tile& tile, const Source& source, int row, int rows, int64_t first_key) {
  using Function = void (*)(const Bf16Tile&, const Source&, int, int64_t);
  static constexpr Function kByRows[] = {AddTo<Source, 1>, AddTo<Source, 2>, AddTo<Source, 3>,
                                         AddTo<Source, 4>, AddTo<Source, 5>, AddTo<Source, 6>};
  static_assert(std::size(kByRows) == kBf16Rows);
  // Of about the same height: few rows have too few sums to keep the processor busy.
  while (rows > 0) {
    const int parts = (rows + kBf16Rows - 1) / kBf16Rows;
    const int count = (rows + parts - 1) / parts;
    kByRows[count - 1](tile, source, row, first_key);
    row += count;
    rows -= count;
  }
}

template <typename Element>
PHALANX_AVX512_BF16 void Bf16SegmentOf(const AttentionTask& task, int64_t segment, float* states) {
  const int rows = task.num_rows();
  auto* const queries = reinterpret_cast<uint32_t*>(task.scratch);
  uint32_t* const packed = queries + (QueryWords(rows, task.head_dim) + 15) / 16 * 16;
  for (int r = 0; r < rows; ++r) {
    AttentionState{states + r * AttentionState::Floats(task.head_dim)}.Clear(task.head_dim);
    RoundQuery(task.query_of(r), task.scale, task.head_dim, queries + QueryWords(r, task.head_dim));
  }
  const Bf16Tile tile = {task, states, queries};
  const int64_t begin = segment * kAttentionSegmentTokens;
  const int64_t end =
      std::min<int64_t>(begin + kAttentionSegmentTokens, task.num_keys_of(rows - 1));
  for (int64_t first = begin; first < end; first += kBf16ChunkTokens) {
    // Later tokens see more keys: those that see none of these come first.
    int row = 0;
    while (task.num_keys_of(row) <= first) row += task.num_heads;
    const int32_t* const blocks = task.blocks + first / kKvBlockTokens;
    if (rows - row < kFewestRowsToPack) {
      // All of the next chunk's blocks must be there.
      const bool has_next = first + 2 * kBf16ChunkTokens <= task.num_keys_of(rows - 1);
      const int32_t* const next = has_next ? blocks + kBf16ChunkBlocks : nullptr;
      AddRows(tile, ArenaSource<Element>(task, blocks, next), row, rows - row, first);
      continue;
    }
    const auto keys = static_cast<int>(std::min<int64_t>(kBf16ChunkTokens, end - first));
    PackBlocks<Element>(task, blocks, (keys + kKvBlockTokens - 1) / kKvBlockTokens,
                        kBf16ChunkBlocks, packed);
    AddRows(tile, PackedSource<Element>(packed, kBf16ChunkBlocks, task.head_dim), row, rows - row,
            first);
  }
}

// Adds the state over further keys to that over earlier ones. Their maxima are of powers of two.
PHALANX_AVX512_BF16 void Bf16Merge(AttentionState further, int head_dim, AttentionState total) {
  if (further.sum() == 0.0f) return;  // No keys.
  const float max = std::max(total.max(), further.max());
  const float kept = total.sum() == 0.0f ? 0.0f : std::exp2(total.max() - max);
  const float added = std::exp2(further.max() - max);
  total.max() = max;
  total.sum() = total.sum() * kept + further.sum() * added;
  const __m512 keep = _mm512_set1_ps(kept);
  const __m512 add = _mm512_set1_ps(added);
  for (int d = 0; d < head_dim; d += kPairLanes) {
    const __m512 more = _mm512_mul_ps(_mm512_loadu_ps(further.values() + d), add);
    const __m512 sum = _mm512_fmadd_ps(_mm512_loadu_ps(total.values() + d), keep, more);
    _mm512_storeu_ps(total.values() + d, sum);
  }
}

int64_t Bf16ScratchBytes(int64_t rows, int head_dim) {
  const int64_t queries = (QueryWords(static_cast<int>(rows), head_dim) + 15) / 16 * 16;
  const int64_t words = queries + PackedSource<uint16_t>::Words(kBf16ChunkBlocks, head_dim);
  return words * static_cast<int64_t>(sizeof(uint32_t));
}

void Bf16Segment(const AttentionTask& task, int64_t segment, float* states) {
  if (task.dtype == KvDType::kInt8) return Bf16SegmentOf<int8_t>(task, segment, states);
  Bf16SegmentOf<uint16_t>(task, segment, states);
}

}  // namespace

const AttentionKernels& Bf16Attention() {
  // 64 tokens where three query heads share a KV head; with half of them, copies in pairs take 5 %.
  static constexpr AttentionKernels kKernels = {.segment = Bf16Segment,
                                                .merge = Bf16Merge,
                                                .tile_rows = 192,
                                                .scratch_bytes = Bf16ScratchBytes};
  return kKernels;
}

}  // namespace phalanx::kernels::avx512
