// What attention on the tensor cores is made of, beside the tiles of keys and values of kv_tiles.h:
// queries in shared memory, scores, and the state of a softmax over the keys so far. Only for
// tensor_core_attention.cu.cc.
#ifndef PHALANX_KERNELS_CUDA_ATTENTION_TILES_H_
#define PHALANX_KERNELS_CUDA_ATTENTION_TILES_H_

#include <cstdint>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/kv_numbers.h"
#include "kernels/cuda/kv_rows.h"
#include "kernels/cuda/kv_tiles.h"
#include "kernels/cuda/mma.h"
#include "kernels/cuda/numbers.h"
#include "kernels/cuda/shared_segments.h"
#include "kernels/step_batch.h"

namespace phalanx::kernels::cuda::attention {

inline constexpr int kRows = 16;  // Of a warp's matrix of queries.
inline constexpr int kKeyTiles = kTileKeys / 8;
inline constexpr int kTilesPerSegment = kSegmentTokens / kTileKeys;

__device__ __forceinline__ int Lane() { return static_cast<int>(threadIdx.x % kWarpSize); }
__device__ __forceinline__ int Warp() { return static_cast<int>(threadIdx.x / kWarpSize); }

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

  // Puts the rows of a sequence's one token there, rotated. All threads of a block call it; they
  // see each other's after a barrier.
  __device__ void Rotate(const Queries& queries, const BFloat16* qkv, int64_t heads_per_token,
                         const TokenAngles& angles) {
    for (int i = static_cast<int>(threadIdx.x); i < kElements; i += kThreads) {
      const int row = i / kDim;
      const int d = i % kDim;
      const bool is_there = row < queries.num_rows;
      const int64_t head = queries.HeadOf(is_there ? row : 0, heads_per_token);
      memory_[row * kDim + Swapped(d / 8, row) * 8 + d % 8] =
          is_there ? RotatedAt(qkv + head * kDim, d, angles) : BFloat16{};
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
template <int kDim, typename Kv, int kCount>
__device__ void Score(const QueryRows<kDim>& queries, const KvTiles<kDim, Kv>& kv, int tile,
                      int first, float (&scores)[kCount][4]) {
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

// Adds the products of weights of 32 keys of a tile, from 32 `half` on, with their values.
template <int kDim, int kTiles>
__device__ void AddValues(const KvTiles<kDim, BFloat16>& kv, int tile, int half, int first,
                          const uint32_t (&weights)[2][4], RowState<kTiles>& state) {
#pragma unroll
  for (int step = 0; step < 2; ++step) {
#pragma unroll
    for (int t = 0; t < kTiles; t += 2) {
      uint32_t values[4];
      const int key = (half * 2 + step) * 16 + Lane() % 16;
      LoadTransposedTiles(kv.Value(tile, key, first + t + Lane() / 16), values);
      MultiplyTiles(weights[step], {values[0], values[1]}, state.values[t]);
      MultiplyTiles(weights[step], {values[2], values[3]}, state.values[t + 1]);
    }
  }
}

// The same of levels: what is transposed as numbers of 16 bits are the levels of dimensions d and
// d + 8, so a lane gets those of two keys.
template <int kDim, typename Kv, int kTiles>
__device__ void AddValues(const KvTiles<kDim, Kv>& kv, int tile, int half, int first,
                          const uint32_t (&weights)[2][4], RowState<kTiles>& state) {
#pragma unroll
  for (int t = 0; t < kTiles; t += 2) {
    uint32_t levels[4];
    LoadTransposedTiles(kv.Value(tile, half * 32 + Lane(), (first + t) / 2), levels);
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      const LevelPairs low = PairsOf<Kv>(levels[2 * step]);
      const LevelPairs high = PairsOf<Kv>(levels[2 * step + 1]);
      MultiplyTiles(weights[step], {low.even, high.even}, state.values[t]);
      MultiplyTiles(weights[step], {low.odd, high.odd}, state.values[t + 1]);
    }
  }
}

// Adds a tile of keys, whose scores the warp has, to the state of its rows: the values' dimensions
// from tile `first` of 8 dimensions on.
template <int kDim, typename Kv, int kTiles>
__device__ void AddTile(const KvTiles<kDim, Kv>& kv, int tile, int first, const int (&last_keys)[2],
                        float scale, float (&scores)[kKeyTiles][4], RowState<kTiles>& state) {
  const int first_key = tile * kTileKeys + Lane() % 4 * 2;
  float new_max[2] = {state.max[0], state.max[1]};
#pragma unroll
  for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const bool sees = first_key + n * 8 + j % 2 <= last_keys[j / 2];
      float factor = scale;
      if constexpr (kHasScales<Kv>) factor *= kv.KeyScale(tile, n * 8 + Lane() % 4 * 2 + j % 2);
      scores[n][j] = sees ? scores[n][j] * factor : -INFINITY;
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
  for (int half = 0; half < kTileKeys / 32; ++half) {
    uint32_t weights[2][4];
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      float(&s)[4] = scores[4 * half + n];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const bool sees = s[j] != -INFINITY;
        s[j] = sees ? Exp2(s[j] - new_max[j / 2]) : 0.0f;
        state.sum[j / 2] += s[j];
        if constexpr (kHasScales<Kv>) {
          // A key that the row does not see may have any scale.
          const int key = (4 * half + n) * 8 + Lane() % 4 * 2 + j % 2;
          s[j] = sees ? s[j] * kv.ValueScale(tile, key) : 0.0f;
        }
      }
      weights[n / 2][n % 2 * 2] = PackBFloat16(s[0], s[1]);
      weights[n / 2][n % 2 * 2 + 1] = PackBFloat16(s[2], s[3]);
    }
    AddValues(kv, tile, half, first, weights, state);
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
