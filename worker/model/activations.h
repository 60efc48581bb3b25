// The memory that a step works in, allocated once.
#ifndef PHALANX_WORKER_MODEL_ACTIVATIONS_H_
#define PHALANX_WORKER_MODEL_ACTIVATIONS_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/ops.h"
#include "model/sharding/shard.h"
#include "model/spec/spec.h"
#include "worker/model/sharded_sampler.h"
#include "worker/step/step.h"

namespace phalanx {

// Everything lies in one buffer, `memory`, at addresses that never change. Tensors have as many
// rows as the largest step needs; a smaller step uses the first ones. `residual` is of the
// backend's residual_dtype, `hidden`, `qkv`, `attention`, `ffn` and `logit_hidden` of its
// activation_dtype, the others float32.
struct Activations {
  // Copies of the step's blocks, as large as the largest step's.
  std::byte* forward_block = nullptr;
  std::byte* sampling_block = nullptr;
  // What stays from step to step, see kernels::StepBatch. They have a row more than there are
  // slots, for rows that only fill up a batch: its block table names kernels::kPaddingBlock.
  int32_t* block_tables = nullptr;
  int32_t* last_tokens = nullptr;
  kernels::Tensor inv_freq;      // [rope lists, rotary_dim / 2]
  kernels::Tensor cos_sin;       // [tokens, rotary_dim]
  kernels::Tensor residual;      // [tokens, hidden]
  kernels::Tensor hidden;        // [tokens, hidden]: what goes into a layer's attention or
                                 // feed-forward, then what comes out of it
  kernels::Tensor qkv;           // [tokens, (local_q + 2 local_kv) head_dim]
  kernels::Tensor attention;     // [tokens, local_q head_dim]
  kernels::Tensor ffn;           // [tokens, local_ffn]
  kernels::Tensor logit_hidden;  // [seqs, hidden]
  kernels::Tensor local_logits;  // [seqs, local_vocab]
  SamplerMemory sampler;         // For [seqs] rows
  int32_t* tokens = nullptr;     // [seqs]
  float* log_probs = nullptr;    // [tokens]

  std::unique_ptr<kernels::Buffer> memory;
  size_t workspace_bytes = 0;  // What the backend has reserved beside `memory`.
};

// Blocks of the KV cache: those that sequences may own and kernels::kPaddingBlock.
inline int NumKvCacheBlocks(const StepLimits& limits) { return limits.kv_blocks + 1; }

// A KV cache of so many blocks for this rank's heads, of the type that the backend likes.
kernels::KvCache::Shape KvCacheShape(const ModelSpec& spec, const Shard& shard, int num_blocks,
                                     const kernels::Backend& backend);

// What AllocateActivations takes, the backend's workspace included.
size_t ActivationBytes(const ModelSpec& spec, const Shard& shard, const StepLimits& limits,
                       const kernels::Backend& backend);

// Also reserves the backend's workspace. RESOURCE_EXHAUSTED, telling the bytes, if they do not fit.
absl::StatusOr<Activations> AllocateActivations(const ModelSpec& spec, const Shard& shard,
                                                const StepLimits& limits,
                                                kernels::Backend& backend);

}  // namespace phalanx

#endif  // PHALANX_WORKER_MODEL_ACTIVATIONS_H_
