#include "worker/weights/weight_bytes.h"

#include <vector>

#include "absl/types/span.h"
#include "base/log.h"

namespace phalanx {
namespace {

kernels::LinearSize SizeOf(const TensorPart& part) {
  return {DTypeOf(part.kept_type), part.cols.size(), part.num_rows};
}

size_t MatrixBytes(absl::Span<const TensorPart> parts, const kernels::Backend& backend) {
  std::vector<kernels::LinearSize> sizes;
  sizes.reserve(parts.size());
  for (const TensorPart& part : parts) sizes.push_back(SizeOf(part));
  return backend.LinearBytes(sizes);
}

size_t MatrixBytes(const TensorPart& part, const kernels::Backend& backend) {
  return MatrixBytes(absl::MakeConstSpan(&part, 1), backend);
}

size_t VectorBytes(const TensorPart& part) {
  return static_cast<size_t>(part.cols.size()) * sizeof(float);
}

size_t LayerBytes(const LayerPlan& layer, const kernels::Backend& backend) {
  size_t bytes = VectorBytes(layer.attention_norm) + MatrixBytes(layer.qkv, backend) +
                 MatrixBytes(layer.attention_out, backend) + VectorBytes(layer.ffn_norm) +
                 backend.GatedLinearBytes(SizeOf(layer.gate), SizeOf(layer.up)) +
                 MatrixBytes(layer.down, backend);
  for (const TensorPart& bias : layer.qkv_bias) bytes += VectorBytes(bias);
  return bytes;
}

}  // namespace

kernels::DType DTypeOf(TensorType type) {
  using kernels::DType;
  // PlanWeights has refused all types but these.
  switch (type) {
    case TensorType::kF32:
      return DType::kF32;
    case TensorType::kF16:
      return DType::kF16;
    case TensorType::kBF16:
      return DType::kBF16;
    case TensorType::kQ4_0:
      return DType::kQ4_0;
    case TensorType::kQ4_1:
      return DType::kQ4_1;
    case TensorType::kQ5_0:
      return DType::kQ5_0;
    case TensorType::kQ5_1:
      return DType::kQ5_1;
    case TensorType::kQ8_0:
      return DType::kQ8_0;
    case TensorType::kQ2_K:
      return DType::kQ2_K;
    case TensorType::kQ3_K:
      return DType::kQ3_K;
    case TensorType::kQ4_K:
      return DType::kQ4_K;
    case TensorType::kQ5_K:
      return DType::kQ5_K;
    case TensorType::kQ6_K:
      return DType::kQ6_K;
    case TensorType::kIQ4_NL:
      return DType::kIQ4_NL;
  }
  CHECK(false) << TensorTypeName(type) << " in a plan of weights";
  return DType::kF32;
}

size_t WeightBytes(const WeightPlan& plan, const kernels::Backend& backend) {
  size_t bytes = MatrixBytes(plan.embedding, backend) + VectorBytes(plan.final_norm);
  if (plan.output.tensor != nullptr) bytes += MatrixBytes(plan.output, backend);
  for (const LayerPlan& layer : plan.layers) bytes += LayerBytes(layer, backend);
  return bytes;
}

}  // namespace phalanx
