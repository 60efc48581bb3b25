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

}  // namespace phalanx::kernels
