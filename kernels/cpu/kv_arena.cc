#include "kernels/cpu/kv_arena.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace phalanx::kernels {

size_t KvArena::Bytes(const Shape& shape) {
  return shape.num_blocks * BlockStride(shape) * sizeof(float);
}

absl::StatusOr<std::unique_ptr<KvArena>> KvArena::Create(const Shape& shape) {
  if (shape.dtype != DType::kF32) {
    return absl::InvalidArgumentError(
        absl::StrCat("a KV cache of type ", DTypeName(shape.dtype), " on a CPU"));
  }
  absl::StatusOr<std::unique_ptr<HostBuffer>> arena = HostBuffer::Create(Bytes(shape));
  if (!arena.ok()) return arena.status();
  return std::unique_ptr<KvArena>(new KvArena(shape, *std::move(arena)));
}

KvArena::KvArena(const Shape& shape, std::unique_ptr<HostBuffer> arena)
    : shape_(shape), arena_(std::move(arena)) {}

int64_t KvArena::HeadStride(const Shape& shape) {
  return int64_t{kKvBlockTokens} * (shape.head_dim + ValueStride(shape.head_dim));
}

int64_t KvArena::BlockStride(const Shape& shape) {
  return int64_t{shape.num_layers} * shape.num_kv_heads * HeadStride(shape);
}

float* KvArena::Head(int layer, int kv_head) const {
  return static_cast<float*>(arena_->data()) +
         (int64_t{layer} * shape_.num_kv_heads + kv_head) * HeadStride(shape_);
}

const float* KvArena::keys(int layer, int kv_head) const { return Head(layer, kv_head); }

const float* KvArena::values(int layer, int kv_head) const {
  return Head(layer, kv_head) + int64_t{kKvBlockTokens} * shape_.head_dim;
}

void KvArena::Write(int layer, int64_t block, int slot, const float* keys, const float* values) {
  const int head_dim = shape_.head_dim;
  // A key is scattered over head_dim lines of the block: it is written once and then read by every
  // later token, so the layout favours reading.
  for (int g = 0; g < shape_.num_kv_heads; ++g) {
    float* to = Head(layer, g) + block * block_stride();
    for (int d = 0; d < head_dim; ++d) to[d * kKvBlockTokens + slot] = keys[g * head_dim + d];
    std::copy_n(values + g * head_dim, head_dim,
                to + int64_t{kKvBlockTokens} * head_dim + slot * value_stride());
  }
}

}  // namespace phalanx::kernels
