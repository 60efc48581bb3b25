#include "kernels/cuda/attention.h"

#include <algorithm>

#include "kernels/cuda/device.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/kv_numbers.h"
#include "kernels/cuda/kv_rows.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/numbers.h"
#include "kernels/cuda/shared_segments.h"
#include "kernels/cuda/warp.h"

namespace phalanx::kernels::cuda {
namespace {

using namespace attention;  // NOLINT: what these kernels are made of.

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpSize;

// Dimensions of a head that a lane accumulates: lane, lane + 32, and so on.
constexpr int kDimsPerLane = kMaxHeadDim / kWarpSize;

// Query heads that a block takes at once, so that each key and value that it reads serves all of
// them. More heads of a KV head go to further blocks.
constexpr int kGroup = 4;

// A block's shared memory: the queries, then what its warps found in a segment.
struct SharedLayout {
  int head_dim;
  __device__ float* query(float* memory, int head) const { return memory + head * head_dim; }
  __device__ float* partial(float* memory, int warp, int head) const {
    return memory + kGroup * head_dim + (warp * kGroup + head) * (head_dim + 2);
  }
};

size_t SharedBytes(int head_dim) {
  return sizeof(float) * static_cast<size_t>(kGroup * head_dim + kWarps * kGroup * (head_dim + 2));
}

// Attention of one token's heads over the segments of a sequence that this block is to take.
template <typename T, typename Kv>
class Attention {
 public:
  __device__ Attention(const StepBatch& batch, const T* qkv, int64_t qkv_cols, int local_q_heads,
                       float scale, const KvLayer& cache, const Rotation& rotation)
      : cache_(cache), memory_(DynamicShared<float>()), shared_{cache.head_dim} {
    const int groups = CeilGroups(local_q_heads, cache.num_kv_heads);
    token_ = blockIdx.x;
    kv_head_ = static_cast<int>(blockIdx.y) / groups;
    const int heads_per_kv = local_q_heads / cache.num_kv_heads;
    const int first_in_kv = static_cast<int>(blockIdx.y) % groups * kGroup;
    first_head_ = kv_head_ * heads_per_kv + first_in_kv;
    num_heads_ = min(kGroup, heads_per_kv - first_in_kv);
    num_keys_ = batch.positions[token_] + 1;
    table_ = batch.block_tables +
             int64_t{batch.slots[batch.seq_of_token[token_]]} * batch.max_blocks_per_seq;
    const T* const row = qkv + token_ * qkv_cols;
    const T* const query = row + int64_t{first_head_} * cache.head_dim;
    // Without a rotation, of no dimension.
    const TokenAngles angles(rotation.cos_sin, token_, rotation.half);
    for (int i = static_cast<int>(threadIdx.x); i < num_heads_ * cache.head_dim; i += kThreads) {
      const int d = i % cache.head_dim;
      memory_[i] = ToFloat(RotatedAt(query + i - d, d, angles)) * (scale * kLog2E);
    }
    if (rotation.is_to_do && HasLastSegment() && WarpId() < 2) {
      WriteNewToken(row + int64_t{local_q_heads + kv_head_} * cache.head_dim, angles);
    }
    __syncthreads();
  }

  // How many blocks the query heads of one KV head take.
  __host__ __device__ static int CeilGroups(int local_q_heads, int kv_heads) {
    return (local_q_heads / kv_heads + kGroup - 1) / kGroup;
  }

  __device__ int64_t token() const { return token_; }
  __device__ int first_head() const { return first_head_; }
  __device__ int num_heads() const { return num_heads_; }
  __device__ int segments() const { return (num_keys_ + kSegmentTokens - 1) / kSegmentTokens; }
  // Whether, of the blocks that share out the segments, this one takes the last one.
  __device__ bool HasLastSegment() const {
    return (segments() - 1) % SharingBlocks(segments()) == static_cast<int>(blockIdx.z);
  }

  // Adds segment `segment` to the state of head WarpId(), which is that warp's. All threads call
  // it.
  template <int kDims>
  __device__ void AddSegment(int segment, State<kDims>& state) {
    WarpPart(segment);
    __syncthreads();
    if (WarpId() < num_heads_) {
      State<kDims> of_segment;
      of_segment.Clear();
      for (int warp = 0; warp < kWarps; ++warp) {
        const float* const partial = shared_.partial(memory_, warp, WarpId());
        float values[kDims];
        LoadLane(partial, values);
        of_segment.Merge(partial[cache_.head_dim], partial[cache_.head_dim + 1], values);
      }
      state.Merge(of_segment.max, of_segment.sum, of_segment.values);
    }
    __syncthreads();  // The partials may be overwritten.
  }

  // This lane's dimensions of a head's vector in memory.
  template <int kDims>
  __device__ void LoadLane(const float* from, float (&to)[kDims]) const {
#pragma unroll
    for (int i = 0; i < kDims; ++i) {
      const int d = LaneId() + i * kWarpSize;
      to[i] = d < cache_.head_dim ? from[d] : 0.0f;
    }
  }

 private:
  // Blocks for further query heads of a KV head write the same bytes to the same place.
  __device__ void WriteNewToken(const T* key, const TokenAngles& angles) {
    const int position = num_keys_ - 1;
    const T* const value = key + cache_.num_kv_heads * cache_.head_dim;
    WriteToken<Kv>(
        cache_,
        cache_.ScaleOffset(table_[position / kKvBlockTokens], kv_head_, position % kKvBlockTokens),
        WarpId(), [&](int d) { return ToFloat(RotatedAt(key, d, angles)); },
        [&](int d) { return ToFloat(value[d]); });
  }

  // This warp takes the KV blocks WarpId(), WarpId() + kWarps, ... of the segment, and leaves what
  // they give for each head in shared memory. A lane scores the keys of half a block's tokens: the
  // even lanes have the first half of the dimensions of token lane / 2, the odd ones the second.
  __device__ void WarpPart(int segment) {
    State<kDimsPerLane> states[kGroup];
#pragma unroll
    for (int h = 0; h < kGroup; ++h) states[h].Clear();
    const int lane = LaneId();
    const int head_dim = cache_.head_dim;
    const int end = min(num_keys_, (segment + 1) * kSegmentTokens);
    for (int first = segment * kSegmentTokens + WarpId() * kKvBlockTokens; first < end;
         first += kWarps * kKvBlockTokens) {
      const int32_t block = table_[first / kKvBlockTokens];
      const int64_t base = cache_.Offset(block, kv_head_, 0);
      const Kv* const keys = static_cast<const Kv*>(cache_.keys) + base;
      const Kv* const values = static_cast<const Kv*>(cache_.values) + base;
      const int token = lane / 2;
      const bool is_key = first + token < end;
      float scores[kGroup] = {};
      float key_scale = 1.0f;
      float value_scale = 1.0f;
      if (kHasScales<Kv> && is_key) {
        const int64_t at = cache_.ScaleOffset(block, kv_head_, token);
        key_scale = cache_.key_scales[at];
        value_scale = cache_.value_scales[at];
      }
      if (is_key) {
        const Kv* const key = keys + token * head_dim;
        const int half = (head_dim + 1) / 2;
        const int begin = lane % 2 * half;
        const int stop = min(begin + half, head_dim);
        for (int d = begin; d < stop; ++d) {
          const float k = ToFloat(key[kHasScales<Kv> ? cache_.KeyPlace(d) : d]);
#pragma unroll
          for (int h = 0; h < kGroup; ++h) {
            if (h < num_heads_) scores[h] = fmaf(shared_.query(memory_, h)[d], k, scores[h]);
          }
        }
      }
#pragma unroll
      for (int h = 0; h < kGroup; ++h) {
        if (h >= num_heads_) continue;
        float score = scores[h] + __shfl_xor_sync(kAllLanes, scores[h], 1);
        if (kHasScales<Kv>) score *= key_scale;
        AddBlock(is_key ? score : -INFINITY, value_scale, values, min(end - first, kKvBlockTokens),
                 states[h]);
      }
    }
#pragma unroll
    for (int h = 0; h < kGroup; ++h) {
      if (h >= num_heads_) continue;
      float* const partial = shared_.partial(memory_, WarpId(), h);
#pragma unroll
      for (int i = 0; i < kDimsPerLane; ++i) {
        const int d = lane + i * kWarpSize;
        if (d < head_dim) partial[d] = states[h].values[i];
      }
      if (lane == 0) {
        partial[head_dim] = states[h].max;
        partial[head_dim + 1] = states[h].sum;
      }
    }
  }

  // Adds one KV block to a head's state; `score` is that of token lane / 2, and `value_scale` that
  // of its value.
  __device__ void AddBlock(float score, float value_scale, const Kv* values, int tokens,
                           State<kDimsPerLane>& state) {
    const float max = fmaxf(state.max, WarpMax(score));
    const float kept = Exp2(state.max - max);
    const float weight = Exp2(score - max);
    // Each weight is in two lanes.
    state.sum = fmaf(state.sum, kept, WarpSum(LaneId() % 2 == 0 ? weight : 0.0f));
    const float factor = kHasScales<Kv> ? weight * value_scale : weight;
    float added[kDimsPerLane] = {};
    for (int token = 0; token < tokens; ++token) {
      const float w = __shfl_sync(kAllLanes, factor, token * 2);
#pragma unroll
      for (int i = 0; i < kDimsPerLane; ++i) {
        const int d = LaneId() + i * kWarpSize;
        if (d < cache_.head_dim) {
          const int place = kHasScales<Kv> ? cache_.ValuePlace(d) : d;
          added[i] = fmaf(w, ToFloat(values[token * cache_.head_dim + place]), added[i]);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kDimsPerLane; ++i) {
      state.values[i] = fmaf(state.values[i], kept, added[i]);
    }
    state.max = max;
  }

  const KvLayer& cache_;
  float* const memory_;
  const SharedLayout shared_;
  int64_t token_;
  int kv_head_;
  int first_head_;
  int num_heads_;
  int num_keys_;
  const int32_t* table_;
};

// Leaves the result of a segment in memory.
__device__ void StorePartial(const State<kDimsPerLane>& state, float* partial, int head_dim) {
#pragma unroll
  for (int i = 0; i < kDimsPerLane; ++i) {
    const int d = LaneId() + i * kWarpSize;
    if (d < head_dim) partial[d] = state.values[i];
  }
  if (LaneId() == 0) {
    partial[head_dim] = state.max;
    partial[head_dim + 1] = state.sum;
  }
}

// The block of a token and a group of heads takes all segments. If the launch has several blocks
// for them, each takes the segments from blockIdx.z on in steps of gridDim.z, and the last one to
// be done merges what all have found.
template <typename T, typename Kv>
__global__ void __launch_bounds__(kThreads)
    AttentionKernel(StepBatch batch, const T* qkv, int64_t qkv_cols, int local_q_heads, float scale,
                    KvLayer cache, Rotation rotation, AttentionWorkspace workspace, T* out) {
  WaitForPrevious();
  Attention<T, Kv> attention(batch, qkv, qkv_cols, local_q_heads, scale, cache, rotation);
  const int segments = attention.segments();
  const int blocks = SharingBlocks(segments);
  const int block = static_cast<int>(blockIdx.z);
  if (block >= blocks) return;
  const int head_dim = cache.head_dim;
  // Each warp has one head, if there are as many.
  const bool has_head = WarpId() < attention.num_heads();
  const int64_t head = attention.token() * local_q_heads + attention.first_head() + WarpId();
  State<kDimsPerLane> state;
  state.Clear();
  for (int segment = block; segment < segments; segment += blocks) {
    attention.AddSegment(segment, state);
    if (blocks == 1) continue;
    if (has_head) StorePartial(state, PartialOf(workspace, head, segment, head_dim), head_dim);
    state.Clear();
  }
  if (blocks > 1) {
    if (!IsLastOfBlocks(workspace, blocks)) return;
    if (has_head) state = MergeSegments<kDimsPerLane>(workspace, head, segments, head_dim);
  }
  if (has_head) WriteHead(state, head_dim, out + head * head_dim);
}

template <typename T, typename Kv>
void LaunchTyped(cudaStream_t stream, const StepBatch& batch, const Tensor& qkv, int local_q_heads,
                 float scale, const KvLayer& cache, const Rotation& rotation,
                 const AttentionWorkspace& workspace, T* out) {
  const int groups =
      cache.num_kv_heads * Attention<T, Kv>::CeilGroups(local_q_heads, cache.num_kv_heads);
  const T* const in = static_cast<const T*>(qkv.data);
  LaunchShape shape = {
      .grid = dim3(static_cast<uint32_t>(batch.num_tokens), static_cast<uint32_t>(groups)),
      .block = dim3(kThreads),
      .shared_bytes = SharedBytes(cache.head_dim)};
  if (workspace.max_segments > 1 && batch.num_tokens <= kMaxSplitTokens) {
    shape.grid.z = static_cast<uint32_t>(std::min(kSplits, workspace.max_segments));
  }
  Launch(stream, shape, AttentionKernel<T, Kv>, batch, in, qkv.cols, local_q_heads, scale, cache,
         rotation, workspace, out);
}

}  // namespace

size_t AttentionPartialBytes(int64_t q_heads, int64_t head_dim, int max_segments) {
  return sizeof(float) *
         static_cast<size_t>(kMaxSplitTokens * q_heads * max_segments * (head_dim + 2));
}

void LaunchPagedAttention(cudaStream_t stream, const StepBatch& batch, const Tensor& qkv,
                          int local_q_heads, float scale, const KvLayer& cache,
                          const Rotation& rotation, const AttentionWorkspace& workspace,
                          const Tensor& out) {
  WithType(qkv.dtype, [&](auto tag) {
    WithKvType(cache.dtype, [&](auto kv_tag) {
      using T = typename decltype(tag)::Type;
      using Kv = typename decltype(kv_tag)::Type;
      LaunchTyped<T, Kv>(stream, batch, qkv, local_q_heads, scale, cache, rotation, workspace,
                         static_cast<T*>(out.data));
    });
  });
}

}  // namespace phalanx::kernels::cuda
