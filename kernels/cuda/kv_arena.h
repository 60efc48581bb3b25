// The KV cache in device memory.
#ifndef PHALANX_KERNELS_CUDA_KV_ARENA_H_
#define PHALANX_KERNELS_CUDA_KV_ARENA_H_

#include <cstddef>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "kernels/cuda/cuda_memory.h"
#include "kernels/cuda/kv_layout.h"
#include "kernels/ops.h"

namespace phalanx::kernels::cuda {

class KvArena final : public KvCache {
 public:
  // INVALID_ARGUMENT for heads larger than kMaxHeadDim; RESOURCE_EXHAUSTED if it does not fit.
  static absl::StatusOr<std::unique_ptr<KvArena>> Create(int device, const Shape& shape);
  static size_t Bytes(const Shape& shape);

  const Shape& shape() const override { return shape_; }
  size_t bytes() const override { return memory_->bytes(); }
  KvLayer layer(int layer) const;

 private:
  KvArena(const Shape& shape, std::unique_ptr<CudaBuffer> memory)
      : shape_(shape), memory_(std::move(memory)) {}

  const Shape shape_;
  const std::unique_ptr<CudaBuffer> memory_;
};

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_KV_ARENA_H_
