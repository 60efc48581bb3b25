// The ops around the products and attention: tables, embedding, norms, rotary embedding, rows. As
// Backend in kernels/ops.h tells of them; each queues one kernel on `stream`. `Tensor` types are
// float32 and bfloat16.
#ifndef PHALANX_KERNELS_CUDA_ELEMENTWISE_H_
#define PHALANX_KERNELS_CUDA_ELEMENTWISE_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/kv_layout.h"
#include "kernels/cuda/weight_layout.h"
#include "kernels/step_batch.h"
#include "kernels/tensor.h"

namespace phalanx::kernels::cuda {

void LaunchUpdateBlockTables(cudaStream_t stream, const StepBatch& batch);

// For one of the matrices that the table is stacked of, whose first output is row `first_output`
// of the table. Rows of other matrices are left alone; those of no matrix are zeroed if
// `zeroes_others`, which is to be set for the first matrix.
void LaunchEmbed(cudaStream_t stream, const StepBatch& batch, const DeviceMatrix& matrix,
                 int64_t first_row, int64_t first_output, bool zeroes_others, const Tensor& out);

void LaunchRmsNorm(cudaStream_t stream, const Tensor& x, const Tensor& weight, float eps,
                   const Tensor& out);
void LaunchAddRmsNorm(cudaStream_t stream, const Tensor& residual, const Tensor& delta,
                      const Tensor& weight, float eps, const Tensor& out);

void LaunchRopeAngles(cudaStream_t stream, const StepBatch& batch, const Tensor& inv_freq,
                      float factor, const Tensor& cos_sin);
void LaunchRopeAndWriteKv(cudaStream_t stream, const StepBatch& batch, const Tensor& cos_sin,
                          int local_q_heads, const Tensor& qkv, const KvLayer& cache);

void LaunchGatherRows(cudaStream_t stream, const int32_t* rows, const Tensor& x, const Tensor& out);

void LaunchStoreLastTokens(cudaStream_t stream, const SamplingBatch& batch, const int32_t* tokens,
                           int32_t* last_tokens);

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_ELEMENTWISE_H_
