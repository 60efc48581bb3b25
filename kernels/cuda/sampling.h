// Drawing tokens and log-probabilities: AdjustLogits, the ops of Backend from RowMaxima on, and
// Sample and TokenLogProbs, which are made of the same kernels. With the bits of
// kernels/sampling/sample.h and log_prob.h: nvcc compiles these kernels with -fmad=false.
#ifndef PHALANX_KERNELS_CUDA_SAMPLING_H_
#define PHALANX_KERNELS_CUDA_SAMPLING_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/sample_shard.h"
#include "kernels/step_batch.h"
#include "kernels/tensor.h"

namespace phalanx::kernels::cuda {

void LaunchAdjustLogits(cudaStream_t stream, const SamplingBatch& batch, const Tensor& logits,
                        int64_t first_id);
void LaunchRowMaxima(cudaStream_t stream, const Tensor& logits, int64_t first_id, uint64_t* maxima);
void LaunchCutSums(cudaStream_t stream, const SamplingBatch& batch, const Tensor& logits,
                   const SampleShard& shard, CutKind kind, int digit);
void LaunchNarrowCut(cudaStream_t stream, const SamplingBatch& batch, const Tensor& logits,
                     const SampleShard& shard, CutKind kind, int digit);
void LaunchTypicalSums(cudaStream_t stream, const SamplingBatch& batch, const Tensor& logits,
                       const SampleShard& shard);
void LaunchKeptWeights(cudaStream_t stream, const SamplingBatch& batch, const Tensor& logits,
                       const SampleShard& shard);
void LaunchDrawTokens(cudaStream_t stream, const SamplingBatch& batch, const Tensor& logits,
                      const SampleShard& shard);
void LaunchTakeTokens(cudaStream_t stream, int64_t rows, const uint64_t* drawn, int32_t* tokens);
void LaunchLogProbTerms(cudaStream_t stream, const Tensor& logits, int64_t first_id,
                        const int32_t* targets, const uint64_t* maxima, uint64_t* terms);
void LaunchCombineLogProbs(cudaStream_t stream, int64_t rows, const uint64_t* maxima,
                           const uint64_t* terms, float* log_probs);
void LaunchTopLogits(cudaStream_t stream, const Tensor& logits, int64_t first_id, int count,
                     uint64_t* words);

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_SAMPLING_H_
