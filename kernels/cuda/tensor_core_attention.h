// Paged attention on the tensor cores, for bfloat16. What attention.h says of segments and of keys
// and values in 8 bits holds here too; within a segment, keys are taken in tiles of 64.
//
// The query heads that share a KV head are rows of one matrix, so each key and value is read once
// for all of them. There are two kernels. The one for prompts has warps with 16 rows each, which
// share tiles of keys and values. The one for steps of one token a sequence has few rows, so its
// four warps share the rows: each scores a quarter of a tile's keys, then weighs a quarter of the
// dimensions. Both make the same operations for a row, in the same order.
// Source: Dao 2023, arXiv 2307.08691 (FlashAttention-2).
#ifndef PHALANX_KERNELS_CUDA_TENSOR_CORE_ATTENTION_H_
#define PHALANX_KERNELS_CUDA_TENSOR_CORE_ATTENTION_H_

#include <cuda_runtime_api.h>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/kv_layout.h"
#include "kernels/step_batch.h"
#include "kernels/tensor.h"

namespace phalanx::kernels::cuda {

// Whether these kernels can read the cache: bfloat16 or 8 bits, heads of 64 or 128 dimensions, at
// most 16 query heads for a KV head, and on a GPU whose blocks have enough shared memory: for heads
// of 128 dimensions in bfloat16 that are 80 KiB, which a T4 has not.
bool SuitsTensorCores(const KvLayer& cache, int local_q_heads);

// As LaunchPagedAttention; qkv and out are bfloat16 and the cache suits.
void LaunchTensorCoreAttention(cudaStream_t stream, const StepBatch& batch, const Tensor& qkv,
                               int local_q_heads, float scale, const KvLayer& cache,
                               const Rotation& rotation, const AttentionWorkspace& workspace,
                               const Tensor& out);

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_TENSOR_CORE_ATTENTION_H_
