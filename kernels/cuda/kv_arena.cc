#include "kernels/cuda/kv_arena.h"

#include "absl/strings/str_cat.h"
#include "kernels/cuda/attention.h"

namespace phalanx::kernels::cuda {
namespace {

// Keys or values of one layer.
size_t HalfLayerBytes(const KvCache::Shape& shape) {
  return static_cast<size_t>(shape.num_blocks) * static_cast<size_t>(shape.num_kv_heads) *
         kKvBlockTokens * static_cast<size_t>(shape.head_dim) * KvElementBytes(shape.dtype);
}

// The scales of these.
size_t ScaleBytes(const KvCache::Shape& shape) {
  if (!HasKvScales(shape.dtype)) return 0;
  return static_cast<size_t>(shape.num_blocks) * static_cast<size_t>(shape.num_kv_heads) *
         kKvBlockTokens * sizeof(float);
}

size_t LayerBytes(const KvCache::Shape& shape) {
  return 2 * (HalfLayerBytes(shape) + ScaleBytes(shape));
}

}  // namespace

absl::StatusOr<std::unique_ptr<KvArena>> KvArena::Create(int device, const Shape& shape) {
  if (shape.head_dim > kMaxHeadDim) {
    return absl::InvalidArgumentError(absl::StrCat(
        "attention heads of ", shape.head_dim, " dimensions: a GPU takes at most ", kMaxHeadDim));
  }
  auto memory = CudaBuffer::Create(device, Bytes(shape), "the KV cache");
  if (!memory.ok()) return memory.status();
  return std::unique_ptr<KvArena>(new KvArena(shape, *std::move(memory)));
}

size_t KvArena::Bytes(const Shape& shape) {
  return LayerBytes(shape) * static_cast<size_t>(shape.num_layers);
}

KvLayer KvArena::layer(int layer) const {
  const size_t half = HalfLayerBytes(shape_);
  std::byte* const keys = memory_->bytes_at(LayerBytes(shape_) * static_cast<size_t>(layer));
  KvLayer parts = {.keys = keys,
                   .values = keys + half,
                   .dtype = shape_.dtype,
                   .num_kv_heads = shape_.num_kv_heads,
                   .head_dim = shape_.head_dim};
  if (HasKvScales(shape_.dtype)) {
    parts.key_scales = reinterpret_cast<float*>(keys + 2 * half);
    parts.value_scales = reinterpret_cast<float*>(keys + 2 * half + ScaleBytes(shape_));
  }
  return parts;
}

}  // namespace phalanx::kernels::cuda
