#include "kernels/cuda/kv_arena.h"

#include "absl/strings/str_cat.h"
#include "kernels/cuda/attention.h"

namespace phalanx::kernels::cuda {
namespace {

// Keys or values of one layer.
size_t HalfLayerBytes(const KvCache::Shape& shape) {
  return static_cast<size_t>(shape.num_blocks) * static_cast<size_t>(shape.num_kv_heads) *
         kKvBlockTokens * static_cast<size_t>(shape.head_dim) * BlockBytes(shape.dtype);
}

}  // namespace

absl::StatusOr<std::unique_ptr<KvArena>> KvArena::Create(int device, const Shape& shape) {
  if (shape.dtype != DType::kF32 && shape.dtype != DType::kBF16) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a GPU keeps keys and values in F32 or BF16, not in ", DTypeName(shape.dtype)));
  }
  if (shape.head_dim > kMaxHeadDim) {
    return absl::InvalidArgumentError(absl::StrCat(
        "attention heads of ", shape.head_dim, " dimensions: a GPU takes at most ", kMaxHeadDim));
  }
  auto memory = CudaBuffer::Create(device, Bytes(shape), "the KV cache");
  if (!memory.ok()) return memory.status();
  return std::unique_ptr<KvArena>(new KvArena(shape, *std::move(memory)));
}

size_t KvArena::Bytes(const Shape& shape) {
  return HalfLayerBytes(shape) * 2 * static_cast<size_t>(shape.num_layers);
}

KvLayer KvArena::layer(int layer) const {
  const size_t half = HalfLayerBytes(shape_);
  std::byte* const keys = memory_->bytes_at(2 * half * static_cast<size_t>(layer));
  return {.keys = keys,
          .values = keys + half,
          .dtype = shape_.dtype,
          .num_kv_heads = shape_.num_kv_heads,
          .head_dim = shape_.head_dim};
}

}  // namespace phalanx::kernels::cuda
