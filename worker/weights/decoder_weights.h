// This rank's weights, packed for a backend.
#ifndef PHALANX_WORKER_WEIGHTS_DECODER_WEIGHTS_H_
#define PHALANX_WORKER_WEIGHTS_DECODER_WEIGHTS_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/ops.h"
#include "model/checkpoint/checkpoint.h"
#include "model/sharding/shard.h"
#include "model/sharding/weight_plan.h"

namespace phalanx {

struct LayerWeights {
  std::unique_ptr<kernels::Buffer> attention_norm;       // [hidden] f32
  std::unique_ptr<kernels::PackedLinear> qkv;            // hidden -> (local_q + 2 local_kv) heads
  std::unique_ptr<kernels::Buffer> qkv_bias;             // [outputs of qkv] f32; null: none
  std::unique_ptr<kernels::PackedLinear> attention_out;  // local_q heads -> hidden, partial sums
  std::unique_ptr<kernels::Buffer> ffn_norm;             // [hidden] f32
  std::unique_ptr<kernels::PackedGatedLinear> gate_up;   // hidden -> local_ffn
  std::unique_ptr<kernels::PackedLinear> down;           // local_ffn -> hidden, partial sums
};

struct DecoderWeights {
  std::unique_ptr<kernels::PackedLinear> embedding;  // [local_vocab, hidden]
  std::vector<LayerWeights> layers;
  std::unique_ptr<kernels::Buffer> final_norm;  // [hidden] f32
  // Null when the embedding serves as the output matrix too.
  std::unique_ptr<kernels::PackedLinear> output;  // hidden -> local_vocab
  size_t bytes = 0;                               // Backend memory that all these weights take.
  // The root of the mean square of what weights changed by when they were quantized, relative to
  // that of the weights; 0 if none were.
  double quantization_error = 0;

  const kernels::PackedLinear& logits() const { return output ? *output : *embedding; }
};

// Reads this rank's rows, columns and heads of every matrix from the mapped files, and nothing else
// of them; PlanWeights tells which these are. Vectors are read whole. Rows of rotary heads are put
// in half-split order, whatever their order in the file. Drops the mapped pages afterwards. Returns
// the errors of PlanWeights before anything is read, and RESOURCE_EXHAUSTED when memory runs out.
// `interrupted` is asked before each tensor, if it is not null: true ends loading with CANCELLED.
// `form` is that of QuantizePlan.
absl::StatusOr<DecoderWeights> LoadDecoderWeights(
    const Checkpoint& checkpoint, const ModelSpec& spec, const Shard& shard,
    kernels::Backend& backend, const std::function<bool()>& interrupted = nullptr,
    WeightForm form = WeightForm::kFile);

}  // namespace phalanx

#endif  // PHALANX_WORKER_WEIGHTS_DECODER_WEIGHTS_H_
