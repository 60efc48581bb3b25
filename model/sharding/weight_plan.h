// Tells what of a model's tensors a rank holds, and in which form: a pure function of (files, spec,
// shard).
#ifndef PHALANX_MODEL_SHARDING_WEIGHT_PLAN_H_
#define PHALANX_MODEL_SHARDING_WEIGHT_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/checkpoint/checkpoint.h"
#include "model/files/tensor.h"
#include "model/sharding/shard.h"
#include "model/spec/spec.h"

namespace phalanx {

// Some rows of a tensor, and some columns of these. For a vector, row 0.
struct TensorPart {
  // The tensor of the checkpoint.
  const TensorView* tensor = nullptr;
  int64_t first_row = 0;
  int64_t num_rows = 0;
  Range cols;
  // Whether the rows (the elements of a vector) are whole heads with rotary dims, whose order in
  // the file depends on ModelSpec::interleaved_qk_rows.
  bool rotary_heads = false;
  // The type in memory. kF32 for vectors, and for columns that end inside of a block of the tensor:
  // a part of a block has no quantized form, and float32 is exact. A quantized type in place of the
  // file's floats if the plan was quantized.
  TensorType kept_type = TensorType::kF32;
};

// Where there are several parts, their rows make up a matrix, in order.
struct LayerPlan {
  TensorPart attention_norm;
  std::vector<TensorPart> qkv;
  std::vector<TensorPart> qkv_bias;  // Empty if the model has none.
  TensorPart attention_out;
  TensorPart ffn_norm;
  // Of one shape; in some files, rows of one tensor.
  TensorPart gate;
  TensorPart up;
  TensorPart down;
};

struct WeightPlan {
  TensorPart embedding;
  std::vector<LayerPlan> layers;
  TensorPart final_norm;
  // Without a tensor if the embedding is the output matrix too.
  TensorPart output;
};

// Errors name the file and the tensor: DATA_LOSS if one is missing or has another shape than the
// spec demands; UNIMPLEMENTED for a type that cannot be loaded (with the list of those that can) or
// a tensor that this network does not have. The first error is returned. All of them, in the order
// of the plan, are added to `problems` if it is not null.
absl::StatusOr<WeightPlan> PlanWeights(const Checkpoint& checkpoint, const ModelSpec& spec,
                                       const Shard& shard,
                                       std::vector<absl::Status>* problems = nullptr);

// What weights are kept in: as their file has them, or in fewer bits.
enum class WeightForm { kFile, kInt8, kInt4 };

// "file", "int8" or "int4".
const char* WeightFormName(WeightForm form);

// Has matrices of floats quantized when they are loaded, in groups of 32 columns: to kQ8_0, or to
// kQ4_0 but for embedding and output matrix, which suffer most and are kQ8_0 then too. Matrices
// that the file has quantized stay as they are, and so do those whose columns are no whole groups.
void QuantizePlan(WeightForm form, WeightPlan* plan);

}  // namespace phalanx

#endif  // PHALANX_MODEL_SHARDING_WEIGHT_PLAN_H_
