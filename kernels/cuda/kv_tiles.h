// The keys and values that attention on the tensor cores works on, as tiles in shared memory. Only
// for attention_tiles.h.
#ifndef PHALANX_KERNELS_CUDA_KV_TILES_H_
#define PHALANX_KERNELS_CUDA_KV_TILES_H_

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/cuda/kv_layout.h"
#include "kernels/cuda/kv_numbers.h"
#include "kernels/cuda/kv_rows.h"
#include "kernels/cuda/mma.h"
#include "kernels/cuda/numbers.h"
#include "kernels/step_batch.h"

namespace phalanx::kernels::cuda::attention {

inline constexpr int kWarps = 4;
inline constexpr int kThreads = kWarps * kWarpSize;
inline constexpr int kTileKeys = 64;  // A whole number of KV blocks.

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

// A key that is not read from the cache, since this block writes it there: what it has, in shared
// memory.
template <typename Kv>
struct NewKey {
  int key = -1;  // -1 for none.
  TokenCopy<Kv> row;

  // Its number in a tile; outside of [0, kTileKeys) if it is in another one.
  __device__ int InTile(int tile) const { return key - tile * kTileKeys; }
  __device__ bool IsIn(int tile) const {
    return key >= 0 && InTile(tile) >= 0 && InTile(tile) < kTileKeys;
  }
  // Piece `piece` of 16 bytes of its key or value.
  __device__ static uint4 Piece(const Kv* row, int piece) {
    return *reinterpret_cast<const uint4*>(row + piece * (16 / static_cast<int>(sizeof(Kv))));
  }
};

// Tiles of keys and values in shared memory, two at once.
template <int kDim, typename Kv>
class KvTiles;

template <int kDim>
class KvTiles<kDim, BFloat16> {
 public:
  static constexpr int kPieces = kDim / 8;  // Of a row.
  static constexpr int kTileElements = kTileKeys * kDim;
  static constexpr int kElements = 2 * 2 * kTileElements;

  __device__ KvTiles(BFloat16* memory, const Queries& queries, const KvLayer& cache,
                     const NewKey<BFloat16>& new_key = {})
      : memory_(memory), queries_(queries), cache_(cache), new_(new_key) {}

  // Asks for tile `tile` of the sequence, but for the new key. Keys that it has not are zeros.
  __device__ void Fetch(int tile) {
    for (int i = static_cast<int>(threadIdx.x); i < kTileKeys * kPieces; i += kThreads) {
      const int in_tile = i / kPieces;
      const int key = tile * kTileKeys + in_tile;
      if (key == new_.key) continue;
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

  // Puts the new key in its place in the tile, once the tile is there for this thread.
  __device__ void PutNewKey(int tile) {
    const int thread = static_cast<int>(threadIdx.x);
    if (!new_.IsIn(tile) || thread >= 2 * kPieces) return;
    const int piece = thread % kPieces;
    const bool is_key = thread < kPieces;
    BFloat16* const to = Stage(tile) + (is_key ? 0 : kTileElements) + new_.InTile(tile) * kDim +
                         Swapped(piece, new_.InTile(tile)) * 8;
    *reinterpret_cast<uint4*>(to) = new_.Piece(is_key ? new_.row.key : new_.row.value, piece);
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
  const NewKey<BFloat16> new_;
};

// The same of levels of 8 bits, with their scales.
template <int kDim, typename Kv>
class KvTiles {
 public:
  static constexpr int kPieces = kDim / 16;  // Of 16 levels.
  static constexpr int kTileBytes = kTileKeys * kDim;
  static constexpr int kStageBytes = 2 * kTileBytes + 2 * kTileKeys * int{sizeof(float)};
  static constexpr int kElements = 2 * kStageBytes / int{sizeof(BFloat16)};
  static constexpr int kCopies = kTileKeys / 4;  // Of keys' scales, and as many of values'.

  __device__ KvTiles(BFloat16* memory, const Queries& queries, const KvLayer& cache,
                     const NewKey<Kv>& new_key = {})
      : memory_(reinterpret_cast<std::byte*>(memory)),
        queries_(queries),
        cache_(cache),
        new_(new_key) {}

  // Asks for tile `tile` of the sequence, but for the new key. Keys that it has not are zeros.
  __device__ void Fetch(int tile) {
    for (int i = static_cast<int>(threadIdx.x); i < kTileKeys * kPieces; i += kThreads) {
      const int in_tile = i / kPieces;
      const int key = tile * kTileKeys + in_tile;
      if (key == new_.key) continue;
      const int64_t from =
          cache_.Offset(BlockOf(key), queries_.kv_head, key % kKvBlockTokens) + i % kPieces * 16;
      std::byte* const to = Stage(tile) + in_tile * kDim + SwappedPiece(i % kPieces, in_tile) * 16;
      CopyToShared(to, static_cast<const std::byte*>(cache_.keys) + from, IsThere(key));
      CopyToShared(to + kTileBytes, static_cast<const std::byte*>(cache_.values) + from,
                   IsThere(key));
    }
    // Each of the first threads copies the scales of four keys, which are of one block. Of those
    // that the sequence has not, some are what an earlier one has left.
    const int thread = static_cast<int>(threadIdx.x);
    if (thread < 2 * kCopies) {
      const int in_tile = thread % kCopies * 4;
      const int key = tile * kTileKeys + in_tile;
      const float* const from = thread < kCopies ? cache_.key_scales : cache_.value_scales;
      CopyToShared(Scales(tile) + thread / kCopies * kTileKeys + in_tile,
                   from + cache_.ScaleOffset(BlockOf(key), queries_.kv_head, key % kKvBlockTokens),
                   IsThere(key));
    }
  }

  // Puts the new key in its place in the tile, once the tile is there for this thread. Its scales
  // are put there by the threads that have copied something else to these places.
  __device__ void PutNewKey(int tile) {
    if (!new_.IsIn(tile)) return;
    const int thread = static_cast<int>(threadIdx.x);
    const int in_tile = new_.InTile(tile);
    if (thread < 2 * kPieces) {
      const int piece = thread % kPieces;
      const bool is_key = thread < kPieces;
      std::byte* const to = Stage(tile) + (is_key ? 0 : kTileBytes) + in_tile * kDim +
                            SwappedPiece(piece, in_tile) * 16;
      *reinterpret_cast<uint4*>(to) = new_.Piece(is_key ? new_.row.key : new_.row.value, piece);
    }
    if (thread < 2 * kCopies && thread % kCopies == in_tile / 4) {
      Scales(tile)[thread / kCopies * kTileKeys + in_tile] = new_.row.scales[thread / kCopies];
    }
  }

  // The 8 dimensions from 8 `piece` on of a key, by its number in the tile.
  __device__ uint4 Key(int tile, int key, int piece) const {
    const auto words = *reinterpret_cast<const uint2*>(
        Stage(tile) + key * kDim + SwappedPiece(piece / 2, key) * 16 + piece % 2 * 8);
    const LevelPairs low = PairsOf<Kv>(words.x);
    const LevelPairs high = PairsOf<Kv>(words.y);
    return {low.even, low.odd, high.even, high.odd};
  }
  // The 16 dimensions from 16 `piece` on of a value.
  __device__ const std::byte* Value(int tile, int key, int piece) const {
    return Stage(tile) + kTileBytes + key * kDim + SwappedPiece(piece, key) * 16;
  }
  __device__ float KeyScale(int tile, int key) const { return Scales(tile)[key]; }
  __device__ float ValueScale(int tile, int key) const { return Scales(tile)[kTileKeys + key]; }

 private:
  __device__ bool IsThere(int key) const { return key < queries_.num_keys; }
  __device__ int32_t BlockOf(int key) const {
    return IsThere(key) ? queries_.table[key / kKvBlockTokens] : kPaddingBlock;
  }
  // As Swapped, for rows of half the size: the same piece of eight rows, and two pieces of four
  // rows, are in different banks.
  __device__ static int SwappedPiece(int piece, int row) {
    if (kDim == 64) return piece ^ ((row & 2) | (row & 4) >> 2);
    return piece ^ ((row & 3) << 1 | (row & 4) >> 2);
  }
  __device__ std::byte* Stage(int tile) const { return memory_ + tile % 2 * kStageBytes; }
  __device__ float* Scales(int tile) const {
    return reinterpret_cast<float*>(Stage(tile) + 2 * kTileBytes);
  }

  std::byte* const memory_;
  const Queries& queries_;
  const KvLayer& cache_;
  const NewKey<Kv> new_;
};

}  // namespace phalanx::kernels::cuda::attention

#endif  // PHALANX_KERNELS_CUDA_KV_TILES_H_
