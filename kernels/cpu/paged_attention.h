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

class PagedAttentionRunner {
 public:
  // Adds up the keys of one segment for all rows of a task: states[r] is that of row r.
  using Kernel = void (*)(const AttentionTask& task, int64_t segment, float* states);

  // The memory that it works in, for steps within `limits` on so many threads.
  static size_t ScratchBytes(const WorkspaceLimits& limits, int num_threads);

  // `scratch` has ScratchBytes, aligned to kTensorAlignment; it and the team outlive this.
  PagedAttentionRunner(Kernel kernel, const WorkspaceLimits& limits, float* scratch,
                       ThreadTeam* team);

  // As Backend::PagedAttention.
  void Run(const StepBatch& batch, Tensor qkv, int local_q_heads, float scale, const KvArena& cache,
           int layer, Tensor out);

 private:
  const Kernel kernel_;
  const WorkspaceLimits limits_;
  float* const scratch_;
  ThreadTeam& team_;
};

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_PAGED_ATTENTION_H_
