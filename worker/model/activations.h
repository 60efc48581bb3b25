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
#include "worker/model/step_input.h"

namespace phalanx {

// The arrays of kernels::StepBatch, sized for the largest step.
struct StepArrays {
  int32_t* token_ids = nullptr;
  int32_t* positions = nullptr;
  int32_t* seq_of_token = nullptr;
  int32_t* query_starts = nullptr;
  int32_t* kv_lengths = nullptr;
  int32_t* block_tables = nullptr;
  int32_t* rope_lists = nullptr;
  int32_t* logit_rows = nullptr;
  kernels::SamplingRow* sampling = nullptr;
  int32_t* score_rows = nullptr;     // [tokens]
  int32_t* score_targets = nullptr;  // [tokens]; rank 0 only
};

// Everything lies in one buffer, `memory`, at addresses that never change. Tensors have as many
// rows as the largest step needs; a smaller step uses the first ones.
struct Activations {
  StepArrays step;
  kernels::Tensor inv_freq;      // [rope lists, rotary_dim / 2]
  kernels::Tensor cos_sin;       // [tokens, rotary_dim]
  kernels::Tensor residual;      // [tokens, hidden]
  kernels::Tensor hidden;        // [tokens, hidden]: what goes into a layer's attention or
                                 // feed-forward, then what comes out of it
  kernels::Tensor qkv;           // [tokens, (local_q + 2 local_kv) head_dim]
  kernels::Tensor attention;     // [tokens, local_q head_dim]
  kernels::Tensor gate_up;       // [tokens, 2 local_ffn]
  kernels::Tensor ffn;           // [tokens, local_ffn]
  kernels::Tensor logit_hidden;  // [seqs, hidden]
  kernels::Tensor local_logits;  // [seqs, local_vocab]
  kernels::Tensor logits;        // [seqs, vocab]; rank 0 only, and local_logits if it is alone
  int32_t* tokens = nullptr;     // [seqs]; rank 0 only
  float* log_probs = nullptr;    // [tokens]; rank 0 only

  std::unique_ptr<kernels::Buffer> memory;
};

// What AllocateActivations takes.
size_t ActivationBytes(const ModelSpec& spec, const Shard& shard, const StepLimits& limits);

// RESOURCE_EXHAUSTED, telling the bytes, if they do not fit.
absl::StatusOr<Activations> AllocateActivations(const ModelSpec& spec, const Shard& shard,
                                                const StepLimits& limits,
                                                kernels::Backend& backend);

}  // namespace phalanx

#endif  // PHALANX_WORKER_MODEL_ACTIVATIONS_H_
