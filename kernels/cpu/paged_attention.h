// Attention of a whole step on a thread team: how it is cut into tasks, and how what these give is
// put together.
#ifndef PHALANX_KERNELS_CPU_PAGED_ATTENTION_H_
#define PHALANX_KERNELS_CPU_PAGED_ATTENTION_H_

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/attention_task.h"
#include "kernels/cpu/kv_arena.h"
#include "kernels/cpu/thread_team.h"
#include "kernels/ops.h"

namespace phalanx::kernels {

// Attention in float32, by a function as AttentionKernels::segment whose maxima are those of e's
// powers.
AttentionKernels Float32Attention(void (*segment)(const AttentionTask&, int64_t, float*));

class PagedAttentionRunner {
 public:
  // The memory that it works in, for steps within `limits` on so many threads.
  static size_t ScratchBytes(const AttentionKernels& kernels, const WorkspaceLimits& limits,
                             int num_threads);

  // `scratch` has ScratchBytes, aligned to kTensorAlignment; it and the team outlive this.
  PagedAttentionRunner(const AttentionKernels& kernels, const WorkspaceLimits& limits,
                       float* scratch, ThreadTeam* team);

  // As Backend::PagedAttention.
  void Run(const StepBatch& batch, Tensor qkv, int local_q_heads, float scale, const KvArena& cache,
           int layer, Tensor out);

 private:
  const AttentionKernels kernels_;
  const WorkspaceLimits limits_;
  float* const scratch_;
  ThreadTeam& team_;
};

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_PAGED_ATTENTION_H_
