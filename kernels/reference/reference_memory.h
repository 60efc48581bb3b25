// The weights and the KV cache of the reference backend. Only for reference_backend.cc.
#ifndef PHALANX_KERNELS_REFERENCE_REFERENCE_MEMORY_H_
#define PHALANX_KERNELS_REFERENCE_REFERENCE_MEMORY_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "kernels/bfloat16.h"
#include "kernels/host_memory.h"
#include "kernels/kv_quantize.h"
#include "kernels/linear_source.h"
#include "kernels/ops.h"

namespace phalanx::kernels {

// float32, [out_features, in_features].
class ReferenceLinear : public PackedLinear {
 public:
  ReferenceLinear(LinearShape shape, std::unique_ptr<HostBuffer> weights)
      : shape_(shape), weights_(std::move(weights)) {}

  int64_t in_features() const override { return shape_.in_features; }
  int64_t out_features() const override { return shape_.out_features; }
  size_t bytes() const override { return weights_->bytes(); }

  float* row(int64_t i) const {
    return static_cast<float*>(weights_->data()) + i * shape_.in_features;
  }

 private:
  const LinearShape shape_;
  const std::unique_ptr<HostBuffer> weights_;
};

class ReferenceGatedLinear : public PackedGatedLinear {
 public:
  ReferenceGatedLinear(std::unique_ptr<PackedLinear> gate, std::unique_ptr<PackedLinear> up)
      : gate_(std::move(gate)), up_(std::move(up)) {}

  int64_t in_features() const override { return gate_->in_features(); }
  int64_t out_features() const override { return gate_->out_features(); }
  size_t bytes() const override { return gate_->bytes() + up_->bytes(); }

  const ReferenceLinear& gate() const { return static_cast<const ReferenceLinear&>(*gate_); }
  const ReferenceLinear& up() const { return static_cast<const ReferenceLinear&>(*up_); }

 private:
  const std::unique_ptr<PackedLinear> gate_;
  const std::unique_ptr<PackedLinear> up_;
};

// The float32 numbers that a row of a key or a value reads as, once it has been rounded to the
// cache's type.
inline void RoundRow(KvDType dtype, const float* row, int count, float* to) {
  uint32_t amax = 0;
  for (int d = 0; d < count; ++d) amax = std::max(amax, KvMagnitude(row[d]));
  const KvScale scale = HasKvScales(dtype) ? KvScaleOf(dtype, amax) : KvScale();
  for (int d = 0; d < count; ++d) {
    switch (dtype) {
      case KvDType::kF32:
        to[d] = row[d];
        break;
      case KvDType::kBF16:
        to[d] = BFloat16ToFloat(FloatToBFloat16(row[d]));
        break;
      case KvDType::kInt8:
        to[d] = static_cast<float>(Int8Level(row[d], scale)) * scale.scale;
        break;
      case KvDType::kFp8:
        to[d] = DecodeE4m3(Fp8Level(row[d], scale)) * scale.scale;
        break;
    }
  }
}

// float32 whatever the type is, for each layer: keys [num_blocks, kKvBlockTokens, num_kv_heads,
// head_dim], then values of the same shape, as they read.
class ReferenceKvCache : public KvCache {
 public:
  ReferenceKvCache(const Shape& shape, std::unique_ptr<HostBuffer> arena)
      : shape_(shape), arena_(std::move(arena)) {}

  static size_t LayerElements(const Shape& shape) {
    return size_t{2} * shape.num_blocks * kKvBlockTokens * shape.num_kv_heads * shape.head_dim;
  }

  const Shape& shape() const override { return shape_; }
  size_t bytes() const override { return arena_->bytes(); }

  float* Key(int layer, int block, int slot, int kv_head) const {
    const size_t token = size_t{static_cast<uint32_t>(block)} * kKvBlockTokens + slot;
    return static_cast<float*>(arena_->data()) + layer * LayerElements(shape_) +
           (token * shape_.num_kv_heads + kv_head) * shape_.head_dim;
  }
  float* Value(int layer, int block, int slot, int kv_head) const {
    return Key(layer, block, slot, kv_head) + LayerElements(shape_) / 2;
  }

 private:
  const Shape shape_;
  const std::unique_ptr<HostBuffer> arena_;
};

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_REFERENCE_REFERENCE_MEMORY_H_
