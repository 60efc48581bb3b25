// The memory that ops of the CUDA backend work in, made once.
#ifndef PHALANX_KERNELS_CUDA_WORKSPACE_H_
#define PHALANX_KERNELS_CUDA_WORKSPACE_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/cuda_memory.h"
#include "kernels/cuda/library_products.h"
#include "kernels/op_list.h"
#include "kernels/ops.h"

namespace phalanx::kernels::cuda {

class Workspace {
 public:
  // `uses_library`: whether there is to be memory for products by a library.
  static absl::StatusOr<std::unique_ptr<Workspace>> Create(int device,
                                                           const WorkspaceLimits& limits,
                                                           bool uses_library);
  static size_t Bytes(const WorkspaceLimits& limits, bool uses_library);

  // The words of Backend::Sample and TokenLogProbs for whole rows of `vocab` logits. Ends the
  // process, naming the op, if there are more rows than were reserved for.
  SampleShard ShardOf(Op op, int64_t rows, int64_t vocab) const;
  uint64_t* log_prob_terms() const { return log_prob_terms_; }

  // Segments may be shared out only if there is memory for as many as the limits tell.
  AttentionWorkspace AttentionFor(int q_heads, int head_dim) const;

  const LibraryMemory& library() const { return library_; }

 private:
  Workspace() = default;
  // Places everything from `base` on, and returns the bytes.
  size_t Place(std::byte* base, const WorkspaceLimits& limits, bool uses_library);

  std::unique_ptr<CudaBuffer> memory_;
  WorkspaceLimits limits_;
  SampleShard shard_;
  uint64_t* log_prob_terms_ = nullptr;
  AttentionWorkspace attention_;
  LibraryMemory library_;
};

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_WORKSPACE_H_
