#include "kernels/ops.h"

#include "kernels/check_tensors.h"

namespace phalanx::kernels {

void Backend::NormLinear(Stream& stream, Tensor residual, Tensor norm_weight, float eps,
                         Tensor normed, const PackedLinear& w, Tensor bias, Tensor out) {
  CheckTensors(Op::kNormLinear, {residual, norm_weight, normed, bias, out});
  RmsNorm(stream, residual, norm_weight, eps, normed);
  Linear(stream, normed, w, bias, out);
}

void Backend::NormGatedLinear(Stream& stream, Tensor residual, Tensor norm_weight, float eps,
                              Tensor normed, const PackedGatedLinear& w, Tensor out) {
  CheckTensors(Op::kNormGatedLinear, {residual, norm_weight, normed, out});
  RmsNorm(stream, residual, norm_weight, eps, normed);
  GatedLinear(stream, normed, w, out);
}

void Backend::RopeAttention(Stream& stream, const StepBatch& batch, Tensor cos_sin,
                            int local_q_heads, Tensor qkv, float scale, KvCache& cache, int layer,
                            Tensor out) {
  CheckTensors(Op::kRopeAttention, {cos_sin, qkv, out});
  RopeAndWriteKv(stream, batch, cos_sin, local_q_heads, qkv, cache, layer);
  PagedAttention(stream, batch, qkv, local_q_heads, scale, cache, layer, out);
}

}  // namespace phalanx::kernels
