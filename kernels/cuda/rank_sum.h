// The sum over the ranks of a group, of data that has been gathered on one device.
#ifndef PHALANX_KERNELS_CUDA_RANK_SUM_H_
#define PHALANX_KERNELS_CUDA_RANK_SUM_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/dtype.h"
#include "kernels/tensor.h"

namespace phalanx::kernels::cuda {

// Queues on `stream`: sum[i] = parts[0, i] + parts[1, i] + ..., added in this order in float32 and
// rounded once, to the nearest, so that every rank gets the same bits. parts: [world, count]; both
// are kF32 or kBF16, aligned as their elements demand, and do not overlap. Fastest if `sum` is
// aligned to 16 bytes and `count` is a multiple of 8.
void LaunchRankSum(cudaStream_t stream, DType dtype, int world, int64_t count, const void* parts,
                   void* sum);

// Queues LaunchRankSum and then Backend::AddRmsNorm with that sum as `delta`, with the same bits,
// in one kernel. parts: [world, residual.rows, residual.cols] of out's type; residual: kF32 or
// kBF16.
void LaunchRankSumAddRmsNorm(cudaStream_t stream, int world, const void* parts,
                             const Tensor& residual, const Tensor& weight, float eps,
                             const Tensor& out);

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_RANK_SUM_H_
