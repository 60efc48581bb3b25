// Causal attention over the paged cache, as Backend::PagedAttention.
//
// The keys of a sequence are cut into segments of kSegmentTokens. Attention over a segment gives,
// for each query head, the highest score, the sum of exponentials of the differences to it, and the
// sum of values weighed by them; the segments' results are merged in order. Cuts and order depend
// on nothing but positions, so a token's bits do not depend on its batch or on how its prompt was
// cut into steps. Whether blocks of a launch share the segments out among them, or one takes them
// all, makes no difference either.
//
// Of keys and values in 8 bits, products are made with the levels. A score is multiplied by its
// key's scale. A weight is multiplied by its value's scale before it multiplies the levels, and
// enters the sum of weights without it. On the tensor cores levels are bfloat16 numbers, which hold
// them exactly, and weights, with the scale, are rounded to bfloat16, as they are without. All this
// is done key by key, so bits do not depend on batches or steps with these types either.
// Source: Milakov and Gimelshein 2018, arXiv 1805.02867 (online softmax); Dao et al. 2023,
// "Flash-Decoding for long-context inference".
#ifndef PHALANX_KERNELS_CUDA_ATTENTION_H_
#define PHALANX_KERNELS_CUDA_ATTENTION_H_

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/kv_layout.h"
#include "kernels/step_batch.h"
#include "kernels/tensor.h"

namespace phalanx::kernels::cuda {

inline constexpr int kSegmentTokens = 256;

// Steps of at most so many tokens share out the segments of long sequences among the blocks of a
// launch; with more there is work for all multiprocessors anyway.
inline constexpr int kMaxSplitTokens = 16;

// The largest head that fits: a lane of a warp holds this much of it, divided by 32.
inline constexpr int kMaxHeadDim = 256;

// What blocks that share out a sequence's segments keep in memory. Once all of them are done, the
// last one merges their results.
struct AttentionWorkspace {
  // The results: for each token and query head, and for each segment, head_dim weighed values, the
  // highest score (in units of a factor of two) and the sum of weights.
  float* partials = nullptr;
  // Blocks that are done: for each token and query head, though some kernels have fewer pieces of
  // work. Zeros before and after each kernel.
  unsigned* counters = nullptr;
  int max_segments = 0;  // Of a sequence of the longest context.
};

// For attention that rotates queries and keys itself, and writes keys and values to the cache: the
// cosines and sines of the step's tokens, [num_tokens, 2 * half]. Only for steps of one token a
// sequence. The block that takes the last keys of a sequence writes the new one, for no other block
// reads it.
struct Rotation {
  bool is_to_do = false;  // If not, it has been done before.
  const float* cos_sin = nullptr;
  int half = 0;  // 0 if heads are not rotated.
};

// Bytes of `partials`.
size_t AttentionPartialBytes(int64_t q_heads, int64_t head_dim, int max_segments);

// qkv and out are of one type, float32 or bfloat16; qkv.rows = batch.num_tokens.
void LaunchPagedAttention(cudaStream_t stream, const StepBatch& batch, const Tensor& qkv,
                          int local_q_heads, float scale, const KvLayer& cache,
                          const Rotation& rotation, const AttentionWorkspace& workspace,
                          const Tensor& out);

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_ATTENTION_H_
