#include "kernels/cuda/products.h"

#include <algorithm>
#include <cstddef>

#include "kernels/cuda/linear.h"

namespace phalanx::kernels::cuda {
namespace {

// The tensor cores take bfloat16; float32 inputs are for those who want float32 results.
bool UsesTensorCores(const Tensor& x, const DeviceMatrix& w) {
  return x.dtype == DType::kBF16 && SuitsTensorCores(w);
}

// The part of `out`, and of a bias that may be null, that a segment's outputs go to.
LinearOutput OutputOf(const Segment& segment, const float* bias, const Tensor& out, bool adds) {
  const size_t offset = static_cast<size_t>(segment.first_output) * BlockBytes(out.dtype);
  return {.data = static_cast<std::byte*>(out.data) + offset,
          .dtype = out.dtype,
          .row_stride = out.cols,
          .bias = bias == nullptr ? nullptr : bias + segment.first_output,
          .adds = adds};
}

}  // namespace

void Products::Multiply(cudaStream_t stream, const Tensor& x, const CudaLinear& w,
                        const float* bias, const Tensor& out, bool adds) {
  if (x.rows == 0) return;
  for (const Segment& segment : w.segments()) {
    const LinearOutput to = OutputOf(segment, bias, out, adds);
    if (library_ != nullptr && library_->Multiply(stream, x, segment.matrix, to)) continue;
    if (UsesTensorCores(x, segment.matrix)) {
      LaunchTensorCoreLinear(stream, x, segment.matrix, to);
    } else {
      LaunchLinear(stream, x, segment.matrix, to);
    }
  }
}

void Products::MultiplyGated(cudaStream_t stream, const Tensor& x, const CudaGatedLinear& w,
                             const Tensor& out) {
  if (x.rows == 0) return;
  const DeviceMatrix& gate = w.gate();
  const DeviceMatrix& up = w.up();
  if (library_ != nullptr && library_->MultiplyGated(stream, x, gate, up, out)) return;
  if (UsesTensorCores(x, gate) && gate.format == up.format) {
    LaunchTensorCoreGatedLinear(stream, x, gate, up, out);
  } else {
    LaunchGatedLinear(stream, x, gate, up, out);
  }
}

bool Products::MultiplyNorm(cudaStream_t stream, const NormOfRows& norm, DType normed,
                            const CudaLinear& w, const float* bias, const Tensor& out) {
  const auto& segments = w.segments();
  const bool suits = normed == DType::kBF16 && out.dtype == DType::kBF16 &&
                     std::all_of(segments.begin(), segments.end(), [&](const Segment& segment) {
                       return SuitsNorm(segment.matrix, norm.residual);
                     });
  if (!suits) return false;
  if (norm.residual.rows == 0) return true;
  for (const Segment& segment : segments) {
    LaunchTensorCoreNormLinear(stream, norm, segment.matrix,
                               OutputOf(segment, bias, out, /*adds=*/false));
  }
  return true;
}

bool Products::MultiplyNormGated(cudaStream_t stream, const NormOfRows& norm, DType normed,
                                 const CudaGatedLinear& w, const Tensor& out) {
  const DeviceMatrix& gate = w.gate();
  const DeviceMatrix& up = w.up();
  if (normed != DType::kBF16 || gate.format != up.format || !SuitsNorm(gate, norm.residual)) {
    return false;
  }
  if (norm.residual.rows > 0) LaunchTensorCoreNormGatedLinear(stream, norm, gate, up, out);
  return true;
}

}  // namespace phalanx::kernels::cuda
