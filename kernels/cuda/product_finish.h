// What is left to do after a library has made products in float32: bias, gate, and rounding.
#ifndef PHALANX_KERNELS_CUDA_PRODUCT_FINISH_H_
#define PHALANX_KERNELS_CUDA_PRODUCT_FINISH_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/linear.h"
#include "kernels/tensor.h"

namespace phalanx::kernels::cuda {

// Products of `rows` rows lie dense in memory, `outputs` to a row, which is a multiple of 4. All
// rows, those of the results too, begin at multiples of 16 bytes; the bias may lie anywhere.

// out = products + out.bias, which must be there. out.adds is not looked at.
void LaunchAddBias(cudaStream_t stream, const float* products, int64_t rows, int64_t outputs,
                   const LinearOutput& out);

// out = silu(gate) * up. out is dense, [rows, outputs], float32 or bfloat16.
void LaunchGate(cudaStream_t stream, const float* gate, const float* up, int64_t rows,
                int64_t outputs, void* out, DType out_type);

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_PRODUCT_FINISH_H_
