// What attention on the tensor cores is made of: tiles of queries, keys and values in shared
// memory, scores, and the state of a softmax over the keys so far. Only for
// tensor_core_attention.cu.cc.
#ifndef PHALANX_KERNELS_CUDA_ATTENTION_TILES_H_
#define PHALANX_KERNELS_CUDA_ATTENTION_TILES_H_

#include <cstdint>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/kv_layout.h"
#include "kernels/cuda/mma.h"
#include "kernels/cuda/numbers.h"
#include "kernels/cuda/shared_segments.h"
#include "kernels/step_batch.h"

namespace phalanx::kernels::cuda::attention {

inline constexpr int kWarps = 4;
inline constexpr int kThreads = kWarps * kWarpSize;
inline constexpr int kRows = 16;      // Of a warp's matrix of queries.
inline constexpr int kTileKeys = 64;  // A whole number of KV blocks.
inline constexpr int kKeyTiles = kTileKeys / 8;
inline constexpr int kTilesPerSegment = kSegmentTokens / kTileKeys;

__device__ __forceinline__ int Lane() { return static_cast<int>(threadIdx.x % kWarpSize); }
__device__ __forceinline__ int Warp() { return static_cast<int>(threadIdx.x / kWarpSize); }

// What a block works on: the queries of one sequence for one KV head. Row r of the sequence's
// matrix of queries is head r % group of its token r / group.
struct Queries {
  const int32_t* table;  // Of the sequence's KV blocks.
  int64_t first_token;   // In the batch.
  int num_rows;
  int group;
  int kv_head;
  int num_keys;  // Of the last token.
  int first_position;

  __device__ Queries(const StepBatch& batch, int seq, int group_size, int head)
      : table(batch.block_tables + int64_t{batch.slots[seq]} * batch.max_blocks_per_seq),
        first_token(batch.query_starts[seq]),
        num_rows((batch.query_starts[seq + 1] - batch.query_starts[seq]) * group_size),
        group(group_size),
        kv_head(head),
        num_keys(batch.kv_lengths[seq]),
        first_position(batch.positions[first_token]) {}

  // The last key that a row may see; -1 for a row that is none.
  __device__ int LastKey(int row) const {
    return row < num_rows ? first_position + row / group : -1;
  }
  // Where the row's head begins, in elements, in a tensor of `heads` heads a token.
  __device__ int64_t HeadOf(int row, int64_t heads) const {
    return (first_token + row / group) * heads + kv_head * group + row % group;
  }
};

// Where piece `piece` of row `row` of a matrix in shared memory lies in its row. Pieces of 16 bytes
// are swapped about, by the row's number, so that reading the same piece of eight rows, or four
// pieces of two rows, does not wait for one bank of memory.
__device__ __forceinline__ int Swapped(int piece, int row) {
  return piece ^ ((row & 1) << 2 | (row & 2) | (row & 4) >> 2);
}

// Tiles of keys and values in shared memory, two at once.
template <int kDim>
class KvTiles {
 public:
  static constexpr int kPieces = kDim / 8;  // Of a row.
  static constexpr int kTileElements = kTileKeys * kDim;
  static constexpr int kElements = 2 * 2 * kTileElements;

  __device__ KvTiles(BFloat16* memory, const Queries& queries, const KvLayer& cache)
      : memory_(memory), queries_(queries), cache_(cache) {}

  // Asks for tile `tile` of the sequence. Keys that it has not are zeros.
  __device__ void Fetch(int tile) {
    for (int i = static_cast<int>(threadIdx.x); i < kTileKeys * kPieces; i += kThreads) {
      const int in_tile = i / kPieces;
      const int key = tile * kTileKeys + in_tile;
      const bool is_there = key < queries_.num_keys;
      const int64_t from =
          cache_.Offset(is_there ? queries_.table[key / kKvBlockTokens] : kPaddingBlock,
                        queries_.kv_head, key % kKvBlockTokens) +
          i % kPieces * 8;
      BFloat16* const to = Stage(tile) + in_tile * kDim + Swapped(i % kPieces, in_tile) * 8;
      CopyToShared(to, static_cast<const BFloat16*>(cache_.keys) + from, is_there);
      CopyToShared(to + kTileElements, static_cast<const BFloat16*>(cache_.values) + from,
                   is_there);
    }
  }

  // The piece `piece` of a key, by its number in the tile.
  __device__ uint4 Key(int tile, int key, int piece) const {
    return *reinterpret_cast<const uint4*>(Stage(tile) + key * kDim + Swapped(piece, key) * 8);
  }
  __device__ const BFloat16* Value(int tile, int key, int piece) const {
    return Stage(tile) + kTileElements + key * kDim + Swapped(piece, key) * 8;
  }

 private:
  __device__ BFloat16* Stage(int tile) const { return memory_ + tile % 2 * 2 * kTileElements; }

  BFloat16* const memory_;
  const Queries& queries_;
  const KvLayer& cache_;
};

// A warp's 16 rows of queries in shared memory.
template <int kDim>
class QueryRows {
 public:
  static constexpr int kElements = kRows * kDim;

  __device__ explicit QueryRows(BFloat16* memory) : memory_(memory) {}

  // Asks for the rows from `first_row` on. Rows that the sequence has not are zeros.
  __device__ void Fetch(const Queries& queries, const BFloat16* qkv, int64_t heads_per_token,
                        int first_row) {
    constexpr int kPieces = kDim / 8;
    for (int i = Lane(); i < kRows * kPieces; i += kWarpSize) {
      const int row = i / kPieces;
      const bool is_there = first_row + row < queries.num_rows;
      const int64_t head = queries.HeadOf(is_there ? first_row + row : 0, heads_per_token);
      CopyToShared(memory_ + row * kDim + Swapped(i % kPieces, row) * 8,
                   qkv + head * kDim + i % kPieces * 8, is_there);
    }
  }

  // The left factors of the products over the dimensions [32 c, 32 c + 32), in which this lane has
  // eight dimensions of two rows.
  __device__ void Load(int c, uint32_t (&first)[4], uint32_t (&second)[4]) const {
    const uint4 low = Piece(Lane() / 4, c * 4 + Lane() % 4);
    const uint4 high = Piece(Lane() / 4 + 8, c * 4 + Lane() % 4);
    Set(first, low.x, high.x, low.y, high.y);
    Set(second, low.z, high.z, low.w, high.w);
  }

 private:
  __device__ uint4 Piece(int row, int piece) const {
    return *reinterpret_cast<const uint4*>(memory_ + row * kDim + Swapped(piece, row) * 8);
  }
  __device__ static void Set(uint32_t (&to)[4], uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    to[0] = a;
    to[1] = b;
    to[2] = c;
    to[3] = d;
  }

  BFloat16* const memory_;
};

// What attention over some keys gives for a warp's rows: for this lane's two rows, lane / 4 and
// lane / 4 + 8, and for kTiles tiles of 8 dimensions.
template <int kTiles>
struct RowState {
  float max[2];
  float sum[2];
  float values[kTiles][4];

  __device__ void Clear() {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      max[i] = -INFINITY;
      sum[i] = 0.0f;
    }
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int j = 0; j < 4; ++j) values[t][j] = 0.0f;
    }
  }
};

// The states of segments, merged. As State::Merge of shared_segments.h, with the same roundings.
// The values lie where `values` says: in registers, or in shared memory where these do not suffice.
template <int kTiles, typename Values>
struct MergedState {
  Values values;
  float max[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0.0f, 0.0f};

  __device__ void Add(const RowState<kTiles>& other) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float new_max = fmaxf(max[i], other.max[i]);
      if (new_max == -INFINITY) continue;
      const float mine = Exp2(max[i] - new_max);
      const float theirs = Exp2(other.max[i] - new_max);
      sum[i] = fmaf(sum[i], mine, other.sum[i] * theirs);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
#pragma unroll
        for (int j = 2 * i; j < 2 * i + 2; ++j) {
          values.at(t, j) = fmaf(values.at(t, j), mine, other.values[t][j] * theirs);
        }
      }
      max[i] = new_max;
    }
  }
};

template <int kTiles>
struct ValuesInRegisters {
  float values[kTiles][4] = {};
  __device__ float& at(int tile, int j) { return values[tile][j]; }
};

// Each thread has a column of its own.
struct ValuesInSharedMemory {
  float* memory;
  __device__ float& at(int tile, int j) { return memory[(tile * 4 + j) * kThreads + threadIdx.x]; }
};

// Scores of a warp's rows for the keys [8 first, 8 (first + kCount)) of a tile.
template <int kDim, int kCount>
__device__ void Score(const QueryRows<kDim>& queries, const KvTiles<kDim>& kv, int tile, int first,
                      float (&scores)[kCount][4]) {
#pragma unroll
  for (int n = 0; n < kCount; ++n) {
#pragma unroll
    for (int j = 0; j < 4; ++j) scores[n][j] = 0.0f;
  }
#pragma unroll
  for (int c = 0; c < kDim / 32; ++c) {
    uint32_t low_half[4];
    uint32_t high_half[4];
    queries.Load(c, low_half, high_half);
#pragma unroll
    for (int n = 0; n < kCount; ++n) {
      const uint4 key = kv.Key(tile, (first + n) * 8 + Lane() / 4, c * 4 + Lane() % 4);
      MultiplyTiles(low_half, {key.x, key.y}, scores[n]);
      MultiplyTiles(high_half, {key.z, key.w}, scores[n]);
    }
  }
}

// Adds a tile of keys, whose scores the warp has, to the state of its rows: the values' dimensions
// from tile `first` of 8 dimensions on.
template <int kDim, int kTiles>
__device__ void AddTile(const KvTiles<kDim>& kv, int tile, int first, const int (&last_keys)[2],
                        float scale, float (&scores)[kKeyTiles][4], RowState<kTiles>& state) {
  const int first_key = tile * kTileKeys + Lane() % 4 * 2;
  float new_max[2] = {state.max[0], state.max[1]};
#pragma unroll
  for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const bool sees = first_key + n * 8 + j % 2 <= last_keys[j / 2];
      scores[n][j] = sees ? scores[n][j] * scale : -INFINITY;
      new_max[j / 2] = fmaxf(new_max[j / 2], scores[n][j]);
    }
  }
  float kept[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    new_max[i] = fmaxf(new_max[i], __shfl_xor_sync(kAllLanes, new_max[i], 1));
    new_max[i] = fmaxf(new_max[i], __shfl_xor_sync(kAllLanes, new_max[i], 2));
    // A row that has seen no key yet has nothing to keep; the differences would be no numbers.
    kept[i] = new_max[i] == -INFINITY ? 0.0f : Exp2(state.max[i] - new_max[i]);
    state.max[i] = new_max[i];
    state.sum[i] *= kept[i];
  }
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
#pragma unroll
    for (int j = 0; j < 4; ++j) state.values[t][j] *= kept[j / 2];
  }
  // The weights are the left factor of the product with the values, and so in the same lanes.
#pragma unroll
  for (int step = 0; step < kTileKeys / 16; ++step) {
    uint32_t weights[4];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float(&s)[4] = scores[2 * step + half];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        s[j] = s[j] == -INFINITY ? 0.0f : Exp2(s[j] - new_max[j / 2]);
        state.sum[j / 2] += s[j];
      }
      weights[2 * half] = PackBFloat16(s[0], s[1]);
      weights[2 * half + 1] = PackBFloat16(s[2], s[3]);
    }
#pragma unroll
    for (int t = 0; t < kTiles; t += 2) {
      uint32_t values[4];
      const int key = step * 16 + Lane() % 16;
      LoadTransposedTiles(kv.Value(tile, key, first + t + Lane() / 16), values);
      MultiplyTiles(weights, {values[0], values[1]}, state.values[t]);
      MultiplyTiles(weights, {values[2], values[3]}, state.values[t + 1]);
    }
  }
}

// Each lane has summed up its own keys so far.
template <int kTiles>
__device__ void FinishSums(RowState<kTiles>& state) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    state.sum[i] += __shfl_xor_sync(kAllLanes, state.sum[i], 1);
    state.sum[i] += __shfl_xor_sync(kAllLanes, state.sum[i], 2);
  }
}

template <int kDim, int kTiles, typename Values>
__device__ void WriteRows(MergedState<kTiles, Values>& state, const Queries& queries, int first_row,
                          int first, int local_q_heads, BFloat16* out) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = first_row + Lane() / 4 + i * 8;
    if (row >= queries.num_rows) continue;
    const float inverse = 1.0f / state.sum[i];
    BFloat16* const to = out + queries.HeadOf(row, local_q_heads) * kDim + Lane() % 4 * 2;
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      *reinterpret_cast<uint32_t*>(to + (first + t) * 8) = PackBFloat16(
          state.values.at(t, 2 * i) * inverse, state.values.at(t, 2 * i + 1) * inverse);
    }
  }
}

}  // namespace phalanx::kernels::cuda::attention

#endif  // PHALANX_KERNELS_CUDA_ATTENTION_TILES_H_
