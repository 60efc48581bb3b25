// Products with weight matrices, for all formats and shapes.
//
// Each output is summed in an order that depends on its layer only: lane l of a warp sums the
// inputs l, l + 32, ... in float32, in ascending order, and the lanes' sums are added as a tree.
#ifndef PHALANX_KERNELS_CUDA_LINEAR_H_
#define PHALANX_KERNELS_CUDA_LINEAR_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/weight_layout.h"
#include "kernels/tensor.h"

namespace phalanx::kernels::cuda {

// Where the outputs of one matrix go.
struct LinearOutput {
  void* data = nullptr;  // Of the first output in the first row.
  DType dtype = DType::kF32;
  int64_t row_stride = 0;  // Elements from one row to the next.
  // Added to each row, or null; of the first output.
  const float* bias = nullptr;
  // Whether the products are added to what is there, in float32.
  bool adds = false;
};

// out = x W^T. x: [rows, in_features], float32 or bfloat16.
void LaunchLinear(cudaStream_t stream, const Tensor& x, const DeviceMatrix& w,
                  const LinearOutput& out);

// out = silu(x Wg^T) * (x Wu^T). Both matrices have one shape; their formats may differ.
void LaunchGatedLinear(cudaStream_t stream, const Tensor& x, const DeviceMatrix& gate,
                       const DeviceMatrix& up, const Tensor& out);

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_LINEAR_H_
