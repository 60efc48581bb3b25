// Products with weight matrices on the tensor cores, for inputs in bfloat16.
//
// The inputs of an output are cut into kRanges ranges of whole chunks. Within a range the tensor
// cores add chunk after chunk in float32; the sums of the ranges are added in order. That order
// depends on the layer only, so a row's bits do not depend on the other rows: the kernel for few
// rows, which reads each weight once and has a warp for each range, and the one for many rows give
// the same.
#ifndef PHALANX_KERNELS_CUDA_TENSOR_CORE_LINEAR_H_
#define PHALANX_KERNELS_CUDA_TENSOR_CORE_LINEAR_H_

#include <cuda_runtime_api.h>

#include "kernels/cuda/linear.h"
#include "kernels/cuda/weight_layout.h"
#include "kernels/tensor.h"

namespace phalanx::kernels::cuda {

inline constexpr int kRanges = 8;

// Whether these kernels can take a matrix: its inputs are whole chunks.
bool SuitsTensorCores(const DeviceMatrix& w);

// As LaunchLinear and LaunchGatedLinear; x is bfloat16, its rows begin at multiples of 16 bytes,
// and the matrices suit. The formats of gate and up are one.
void LaunchTensorCoreLinear(cudaStream_t stream, const Tensor& x, const DeviceMatrix& w,
                            const LinearOutput& out);
void LaunchTensorCoreGatedLinear(cudaStream_t stream, const Tensor& x, const DeviceMatrix& gate,
                                 const DeviceMatrix& up, const Tensor& out);

// The RMS norm of each row of the residual, as x of a product. The bits are those of LaunchRmsNorm.
struct NormOfRows {
  Tensor residual;
  Tensor weight;
  float eps = 0.0f;
};

// Whether a product of few rows can take the norm itself, in bfloat16: the residual is float32, and
// its rows are few enough for the shared memory of a block.
bool SuitsNorm(const DeviceMatrix& w, const Tensor& residual);

// The products of the norms, with the bits that the norms in memory would give; the residual suits,
// and out is bfloat16.
void LaunchTensorCoreNormLinear(cudaStream_t stream, const NormOfRows& norm, const DeviceMatrix& w,
                                const LinearOutput& out);
void LaunchTensorCoreNormGatedLinear(cudaStream_t stream, const NormOfRows& norm,
                                     const DeviceMatrix& gate, const DeviceMatrix& up,
                                     const Tensor& out);

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_TENSOR_CORE_LINEAR_H_
