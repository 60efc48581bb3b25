#include "kernels/cuda/tensor_core_attention.h"

#include <algorithm>
#include <type_traits>

#include "kernels/cuda/attention_tiles.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/kv_numbers.h"
#include "kernels/cuda/kv_rows.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/mma.h"
#include "kernels/cuda/numbers.h"

namespace phalanx::kernels::cuda {
namespace {

using namespace attention;  // NOLINT: what these kernels are made of.

// --- Prompts ---

constexpr int kBlockRows = kWarps * kRows;

// Finds which sequence, and which of its blocks of rows, block blockIdx.x is to take; false if it
// is one too many.
__device__ bool FindRows(const StepBatch& batch, int group, int* seq, int* first_row) {
  int block = static_cast<int>(blockIdx.x);
  for (int s = 0; s < batch.num_seqs; ++s) {
    const int rows = (batch.query_starts[s + 1] - batch.query_starts[s]) * group;
    const int blocks = (rows + kBlockRows - 1) / kBlockRows;
    if (block < blocks) {
      *seq = s;
      *first_row = block * kBlockRows;
      return true;
    }
    block -= blocks;
  }
  return false;
}

// Where things lie in the block's shared memory, in bytes.
template <int kDim, typename Kv>
struct PromptLayout {
  static constexpr size_t kQueries = KvTiles<kDim, Kv>::kElements * sizeof(BFloat16);
  static constexpr size_t kTotals =
      kQueries + kWarps * QueryRows<kDim>::kElements * sizeof(BFloat16);
  static constexpr size_t kBytes = kTotals + kThreads * kDim / 2 * sizeof(float);
};

// The merged states of segments: in shared memory if there is enough, since registers are scarce.
template <int kDim, typename Kv, bool kInRegisters>
__device__ auto PromptTotals(std::byte* memory) {
  if constexpr (kInRegisters) {
    return MergedState<kDim / 8, ValuesInRegisters<kDim / 8>>();
  } else {
    auto* const totals = reinterpret_cast<float*>(memory + PromptLayout<kDim, Kv>::kTotals);
#pragma unroll
    for (int i = 0; i < kDim / 2; ++i) totals[i * kThreads + threadIdx.x] = 0.0f;
    return MergedState<kDim / 8, ValuesInSharedMemory>{.values = {totals}};
  }
}

template <int kDim, typename Kv, bool kTotalsInRegisters>
__global__ void __launch_bounds__(kThreads)
    PromptAttentionKernel(StepBatch batch, const BFloat16* qkv, int local_q_heads, float scale,
                          KvLayer cache, BFloat16* out) {
  WaitForPrevious();
  const int group = local_q_heads / cache.num_kv_heads;
  int seq = 0;
  int block_row = 0;
  if (!FindRows(batch, group, &seq, &block_row)) return;
  const Queries queries(batch, seq, group, static_cast<int>(blockIdx.y));
  const int first_row = block_row + Warp() * kRows;
  const int64_t heads_per_token = local_q_heads + 2 * cache.num_kv_heads;
  auto* const memory = DynamicShared<std::byte>();
  KvTiles<kDim, Kv> kv(reinterpret_cast<BFloat16*>(memory), queries, cache);
  QueryRows<kDim> query(reinterpret_cast<BFloat16*>(memory + PromptLayout<kDim, Kv>::kQueries) +
                        Warp() * QueryRows<kDim>::kElements);
  query.Fetch(queries, qkv, heads_per_token, first_row);
  const int last_keys[2] = {queries.LastKey(first_row + Lane() / 4),
                            queries.LastKey(first_row + Lane() / 4 + 8)};
  // No row of the block sees keys after those of its last one.
  const int last_row = min(block_row + kBlockRows, queries.num_rows) - 1;
  const int tiles = queries.LastKey(last_row) / kTileKeys + 1;
  RowState<kDim / 8> of_segment;
  of_segment.Clear();
  auto total = PromptTotals<kDim, Kv, kTotalsInRegisters>(memory);
  kv.Fetch(0);
  EndCopies();
  for (int tile = 0; tile < tiles; ++tile) {
    if (tile + 1 < tiles) kv.Fetch(tile + 1);
    EndCopies();
    AwaitCopies<1>();
    __syncthreads();
    float scores[kKeyTiles][4];
    Score(query, kv, tile, 0, scores);
    AddTile(kv, tile, 0, last_keys, scale * kLog2E, scores, of_segment);
    if (tile % kTilesPerSegment == kTilesPerSegment - 1 || tile == tiles - 1) {
      FinishSums(of_segment);
      total.Add(of_segment);
      of_segment.Clear();
    }
    __syncthreads();  // The stage may be overwritten.
  }
  WriteRows<kDim>(total, queries, first_row, 0, local_q_heads, out);
}

// --- One token a sequence ---

// The warps' scores of a tile, exchanged.
using SharedScores = float[kKeyTiles][4][kWarpSize];

// Where things lie in the block's shared memory, in bytes.
template <int kDim, typename Kv>
struct DecodeLayout {
  static constexpr size_t kQuery = KvTiles<kDim, Kv>::kElements * sizeof(BFloat16);
  static constexpr size_t kScores = kQuery + QueryRows<kDim>::kElements * sizeof(BFloat16);
  static constexpr size_t kNewKey = kScores + sizeof(SharedScores);
  static constexpr size_t kNewScales = kNewKey + 2 * kDim * sizeof(Kv);
  static constexpr size_t kBytes = kNewScales + 2 * sizeof(float);
};

// The key that this block writes to the cache, if it is to: if it takes the last segment.
template <int kDim, typename Kv>
__device__ NewKey<Kv> NewKeyOf(std::byte* memory, const Rotation& rotation, int num_keys,
                               bool has_last_segment) {
  if (!rotation.is_to_do || !has_last_segment) return {};
  using Layout = DecodeLayout<kDim, Kv>;
  Kv* const key = reinterpret_cast<Kv*>(memory + Layout::kNewKey);
  return {.key = num_keys - 1,
          .row = {.key = key,
                  .value = key + kDim,
                  .scales = reinterpret_cast<float*>(memory + Layout::kNewScales)}};
}

// Rotates the queries. The block that has the new key rotates it too, and writes it and its value
// to the cache and to shared memory.
template <int kDim, typename Kv>
__device__ void RotateToken(const Queries& queries, const BFloat16* qkv, int local_q_heads,
                            const KvLayer& cache, const Rotation& rotation, const NewKey<Kv>& added,
                            QueryRows<kDim>& query) {
  const int64_t heads_per_token = local_q_heads + 2 * cache.num_kv_heads;
  const TokenAngles angles(rotation.cos_sin, queries.first_token, rotation.half);
  query.Rotate(queries, qkv, heads_per_token, angles);
  if (added.key >= 0 && Warp() < 2) {
    const int64_t key_head =
        queries.first_token * heads_per_token + local_q_heads + queries.kv_head;
    const BFloat16* const key = qkv + key_head * kDim;
    const BFloat16* const value = key + cache.num_kv_heads * kDim;
    const int64_t at = cache.ScaleOffset(queries.table[added.key / kKvBlockTokens], queries.kv_head,
                                         added.key % kKvBlockTokens);
    WriteToken<Kv>(
        cache, at, Warp(), [&](int d) { return ToFloat(RotatedAt(key, d, angles)); },
        [&](int d) { return ToFloat(value[d]); }, added.row);
  }
  __syncthreads();
}

// The state of one segment, for this warp's quarter of the dimensions. Its first tile has been
// asked for.
template <int kDim, typename Kv>
__device__ void AddSegment(const QueryRows<kDim>& query, KvTiles<kDim, Kv>& kv,
                           SharedScores& shared, int segment, int num_keys,
                           const int (&last_keys)[2], float scale,
                           RowState<kDim / 8 / kWarps>& state) {
  constexpr int kMine = kKeyTiles / kWarps;
  const int begin = segment * kTilesPerSegment;
  const int end = min(begin + kTilesPerSegment, (num_keys + kTileKeys - 1) / kTileKeys);
  for (int tile = begin; tile < end; ++tile) {
    if (tile + 1 < end) kv.Fetch(tile + 1);
    EndCopies();
    AwaitCopies<1>();
    kv.PutNewKey(tile);
    __syncthreads();
    float mine[kMine][4];
    Score(query, kv, tile, Warp() * kMine, mine);
#pragma unroll
    for (int n = 0; n < kMine; ++n) {
#pragma unroll
      for (int j = 0; j < 4; ++j) shared[Warp() * kMine + n][j][Lane()] = mine[n][j];
    }
    __syncthreads();
    float scores[kKeyTiles][4];
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
      for (int j = 0; j < 4; ++j) scores[n][j] = shared[n][j][Lane()];
    }
    AddTile(kv, tile, Warp() * (kDim / 8 / kWarps), last_keys, scale, scores, state);
    __syncthreads();  // Scores and stage may be overwritten.
  }
  FinishSums(state);
}

// The block of (sequence, KV head) takes all segments. If the launch has several blocks for them,
// each takes the segments from blockIdx.z on in steps of gridDim.z, and the last one to be done
// merges what all have found.
template <int kDim, typename Kv>
__global__ void __launch_bounds__(kThreads, 2)
    DecodeAttentionKernel(StepBatch batch, const BFloat16* qkv, int local_q_heads, float scale,
                          KvLayer cache, Rotation rotation, AttentionWorkspace workspace,
                          BFloat16* out) {
  WaitForPrevious();
  using Layout = DecodeLayout<kDim, Kv>;
  constexpr int kTiles = kDim / 8 / kWarps;
  const int group = local_q_heads / cache.num_kv_heads;
  const Queries queries(batch, static_cast<int>(blockIdx.x), group, static_cast<int>(blockIdx.y));
  const int num_keys = queries.LastKey(0) + 1;
  const int segments = (num_keys + kSegmentTokens - 1) / kSegmentTokens;
  const int blocks = SharingBlocks(segments);
  const int block = static_cast<int>(blockIdx.z);
  if (block >= blocks) return;
  auto* const memory = DynamicShared<std::byte>();
  const auto added =
      NewKeyOf<kDim, Kv>(memory, rotation, num_keys, (segments - 1) % blocks == block);
  KvTiles<kDim, Kv> kv(reinterpret_cast<BFloat16*>(memory), queries, cache, added);
  QueryRows<kDim> query(reinterpret_cast<BFloat16*>(memory + Layout::kQuery));
  kv.Fetch(block * kTilesPerSegment);
  if (rotation.is_to_do) {
    EndCopies();
    RotateToken(queries, qkv, local_q_heads, cache, rotation, added, query);
  } else {
    // All warps have the same rows; each fetches them for itself.
    query.Fetch(queries, qkv, local_q_heads + 2 * cache.num_kv_heads, 0);
    EndCopies();
  }
  const int last_keys[2] = {queries.LastKey(Lane() / 4), queries.LastKey(Lane() / 4 + 8)};
  auto& shared = *reinterpret_cast<SharedScores*>(memory + Layout::kScores);
  MergedState<kTiles, ValuesInRegisters<kTiles>> total;
  for (int segment = block; segment < segments; segment += blocks) {
    if (segment != block) {
      kv.Fetch(segment * kTilesPerSegment);
      EndCopies();
    }
    RowState<kTiles> state;
    state.Clear();
    AddSegment(query, kv, shared, segment, num_keys, last_keys, scale * kLog2E, state);
    if (blocks == 1) {
      total.Add(state);
      continue;
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = Lane() / 4 + i * 8;
      if (row >= queries.num_rows) continue;
      float* const partial =
          PartialOf(workspace, queries.HeadOf(row, local_q_heads), segment, kDim);
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          partial[(Warp() * kTiles + t) * 8 + Lane() % 4 * 2 + j] = state.values[t][2 * i + j];
        }
      }
      if (Warp() == 0 && Lane() % 4 == 0) {
        partial[kDim] = state.max[i];
        partial[kDim + 1] = state.sum[i];
      }
    }
  }
  if (blocks == 1) {
    WriteRows<kDim>(total, queries, 0, Warp() * kTiles, local_q_heads, out);
    return;
  }
  if (!IsLastOfBlocks(workspace, blocks)) return;
  for (int row = Warp(); row < queries.num_rows; row += kWarps) {
    const int64_t head = queries.HeadOf(row, local_q_heads);
    WriteHead(MergeSegments<kDim / kWarpSize>(workspace, head, segments, kDim), kDim,
              out + head * kDim);
  }
}

template <int kDim, typename Kv>
void LaunchTyped(cudaStream_t stream, const StepBatch& batch, const Tensor& qkv, int local_q_heads,
                 float scale, const KvLayer& cache, const Rotation& rotation,
                 const AttentionWorkspace& workspace, const Tensor& out) {
  const auto* const in = static_cast<const BFloat16*>(qkv.data);
  auto* const to = static_cast<BFloat16*>(out.data);
  const auto kv_heads = static_cast<uint32_t>(cache.num_kv_heads);
  LaunchShape shape = {.grid = dim3(0), .block = dim3(kThreads)};
  if (batch.num_tokens != batch.num_seqs) {
    const int group = local_q_heads / cache.num_kv_heads;
    // Each sequence may have one block that is not full.
    const int64_t blocks =
        int64_t{batch.num_tokens} * group / kBlockRows + std::min(batch.num_seqs, batch.num_tokens);
    shape.grid = dim3(static_cast<uint32_t>(blocks), kv_heads);
    const auto launch = [&](auto kernel, size_t shared_bytes) {
      shape.shared_bytes = shared_bytes;
      AllowSharedBytes(kernel, shared_bytes);
      Launch(stream, shape, kernel, batch, in, local_q_heads, scale, cache, to);
    };
    using Layout = PromptLayout<kDim, Kv>;
    if constexpr (Layout::kBytes > kSharedBytesAnywhere) {
      if (Layout::kBytes > MaxSharedBytes()) {
        return launch(PromptAttentionKernel<kDim, Kv, true>, Layout::kTotals);
      }
    }
    return launch(PromptAttentionKernel<kDim, Kv, false>, Layout::kBytes);
  }
  const bool splits = workspace.max_segments > 1 && batch.num_tokens <= kMaxSplitTokens;
  shape.grid = dim3(static_cast<uint32_t>(batch.num_seqs), kv_heads,
                    splits ? static_cast<uint32_t>(std::min(kSplits, workspace.max_segments)) : 1);
  shape.shared_bytes = DecodeLayout<kDim, Kv>::kBytes;
  AllowSharedBytes(DecodeAttentionKernel<kDim, Kv>, shape.shared_bytes);
  Launch(stream, shape, DecodeAttentionKernel<kDim, Kv>, batch, in, local_q_heads, scale, cache,
         rotation, workspace, to);
}

// Calls f with head_dim, as a constant, and a TypeTag of the cache's type, if there are kernels for
// them.
template <typename Function>
void WithShape(const KvLayer& cache, Function f) {
  WithKvType(cache.dtype, [&](auto kv_tag) {
    if constexpr (!std::is_same_v<typename decltype(kv_tag)::Type, float>) {
      if (cache.head_dim == 64) f(std::integral_constant<int, 64>(), kv_tag);
      if (cache.head_dim == 128) f(std::integral_constant<int, 128>(), kv_tag);
    }
  });
}

}  // namespace

bool SuitsTensorCores(const KvLayer& cache, int local_q_heads) {
  bool suits = false;
  WithShape(cache, [&](auto dim, auto kv_tag) {
    using Kv = typename decltype(kv_tag)::Type;
    constexpr int kDim = decltype(dim)::value;
    constexpr size_t kPromptBytes = PromptLayout<kDim, Kv>::kTotals;
    constexpr size_t kDecodeBytes = DecodeLayout<kDim, Kv>::kBytes;
    // One kernel alone would not give the bits of the other.
    suits = local_q_heads / cache.num_kv_heads <= kRows &&
            std::max(kPromptBytes, kDecodeBytes) <= MaxSharedBytes();
  });
  return suits;
}

void LaunchTensorCoreAttention(cudaStream_t stream, const StepBatch& batch, const Tensor& qkv,
                               int local_q_heads, float scale, const KvLayer& cache,
                               const Rotation& rotation, const AttentionWorkspace& workspace,
                               const Tensor& out) {
  if (batch.num_tokens == 0) return;
  WithShape(cache, [&](auto dim, auto kv_tag) {
    LaunchTyped<decltype(dim)::value, typename decltype(kv_tag)::Type>(
        stream, batch, qkv, local_q_heads, scale, cache, rotation, workspace, out);
  });
}

}  // namespace phalanx::kernels::cuda
