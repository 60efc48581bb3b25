// Tells what a rank that computes on a GPU holds in the GPU's memory, without a GPU: the sizes of
// the layouts of kernels/cuda, to the byte, and what comes on top of these.
#ifndef PHALANX_MODEL_SHARDING_GPU_MEMORY_H_
#define PHALANX_MODEL_SHARDING_GPU_MEMORY_H_

#include <cstdint>

#include "model/sharding/kv_type.h"
#include "model/sharding/shard.h"
#include "model/sharding/weight_plan.h"
#include "model/spec/spec.h"

namespace phalanx {

// The KV cache is given out in blocks of this many tokens.
inline constexpr int kGpuKvBlockTokens = 16;

// The largest attention head that the kernels take.
inline constexpr int kGpuMaxHeadDim = 256;

// What nobody has measured yet. The first is what CUDA takes for a process on a GPU: its context,
// the code of the kernels, the recorded steps. The second is what NCCL takes for its buffers if
// there are several ranks.
inline constexpr int64_t kGpuContextBytes = int64_t{600} << 20;
inline constexpr int64_t kGpuNcclBytes = int64_t{300} << 20;

// How large steps may be: the worker's defaults on GPUs.
struct GpuStepLimits {
  int max_seqs = 128;
  int max_step_tokens = 2048;
};

// The bytes of all weights of one rank.
int64_t GpuWeightBytes(const WeightPlan& plan);

// The bytes of the keys and values of one token in all layers for `kv_heads` of the model's heads.
int64_t GpuKvBytesPerToken(const ModelSpec& spec, int kv_heads, KvType type);

// The memory that the kernels work in: Workspace::Bytes in kernels/cuda.
int64_t GpuWorkspaceBytes(const ModelSpec& spec, const Shard& shard, const GpuStepLimits& limits);

// What is kept between the kernels of a step, with activations as bfloat16. Without the description
// of the step itself, which takes some hundred KiB.
int64_t GpuActivationBytes(const ModelSpec& spec, const Shard& shard, const GpuStepLimits& limits);

// What CUDA and NCCL take of the GPU of one rank.
int64_t GpuReservedBytes(const Shard& shard);

// The tokens of the largest KV cache that fits into `bytes`: whole blocks, without the one that no
// sequence owns; 0 if there is no room for one.
int64_t GpuKvCacheTokens(const ModelSpec& spec, int kv_heads, KvType type, int64_t bytes);

// How many sequences of `tokens` tokens a KV cache of `cache_tokens` holds.
int64_t SequencesThatFit(int64_t cache_tokens, int64_t tokens);

}  // namespace phalanx

#endif  // PHALANX_MODEL_SHARDING_GPU_MEMORY_H_
