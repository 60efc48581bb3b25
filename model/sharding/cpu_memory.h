// Tells what a rank that computes on CPUs holds in memory, without computing: the sizes of the
// layouts of kernels/cpu, to the byte.
#ifndef PHALANX_MODEL_SHARDING_CPU_MEMORY_H_
#define PHALANX_MODEL_SHARDING_CPU_MEMORY_H_

#include <cstdint>

#include "model/sharding/kv_type.h"
#include "model/sharding/shard.h"
#include "model/sharding/weight_plan.h"
#include "model/spec/spec.h"

namespace phalanx {

// The KV cache is given out in blocks of this many tokens.
inline constexpr int kCpuKvBlockTokens = 16;

// The bytes of all weights of one rank, packed for products in int8, the default of CPUs:
// DecoderWeights::bytes in worker/weights.
int64_t CpuWeightBytes(const WeightPlan& plan);

// The bytes of the keys and values of one token in all layers for `kv_heads` of the model's heads.
// A CPU does not take kFp8.
int64_t CpuKvBytesPerToken(const ModelSpec& spec, int kv_heads, KvType type);

// The tokens of the longest context whose KV cache fits into `bytes`: whole blocks, at most
// spec.context_tokens, and 0 if there is no room for one block.
int LongestContextTokens(const ModelSpec& spec, int kv_heads, KvType type, int64_t bytes);

}  // namespace phalanx

#endif  // PHALANX_MODEL_SHARDING_CPU_MEMORY_H_
