// The KV cache of the CPU backend.
#ifndef PHALANX_KERNELS_CPU_KV_ARENA_H_
#define PHALANX_KERNELS_CPU_KV_ARENA_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cpu/thread_team.h"
#include "kernels/host_memory.h"
#include "kernels/ops.h"

namespace phalanx::kernels {

// [num_blocks, num_layers, num_kv_heads] of {keys [head_dim, kKvBlockTokens], values
// [kKvBlockTokens, value_stride]}, and for int8 {key scales [kKvBlockTokens], value scales
// [kKvBlockTokens]}, float32. Keys lie across, so that a vector holds one dimension of several
// tokens and their scores come out in its lanes. Values lie along, so that a vector holds several
// dimensions of one token; they are padded with zeros to whole vectors.
class KvArena : public KvCache {
 public:
  // bytes() of what Create makes.
  static size_t Bytes(const Shape& shape);
  // Takes all of the memory at once, on all threads of `team`: what is not there must show now, and
  // not when the cache fills. Which thread reads a block later is not known now, so the blocks are
  // dealt out to the threads, and lie on all NUMA nodes where these are. RESOURCE_EXHAUSTED if the
  // memory cannot be had, and the errors of CheckDType.
  static absl::StatusOr<std::unique_ptr<KvArena>> Create(const Shape& shape, ThreadTeam& team);
  // INVALID_ARGUMENT for fp8.
  static absl::Status CheckDType(KvDType dtype);

  const Shape& shape() const override { return shape_; }
  size_t bytes() const override { return arena_->bytes(); }

  // Bytes from a block to the next.
  int64_t block_stride() const { return BlockStride(shape_); }

  // Where the keys and values of a layer and KV head begin in block 0, and the scales of keys,
  // which those of values follow.
  const std::byte* keys(int layer, int kv_head) const { return Head(layer, kv_head); }
  const std::byte* values(int layer, int kv_head) const;
  const std::byte* scales(int layer, int kv_head) const;

  // Stores the keys and values of one token, [num_kv_heads, head_dim] each.
  void Write(int layer, int64_t block, int slot, const float* keys, const float* values);

  // Elements from one token's values to the next token's: whole vectors of eight.
  static constexpr int ValueStride(int head_dim) { return (head_dim + 7) / 8 * 8; }

 private:
  KvArena(const Shape& shape, std::unique_ptr<HostBuffer> arena);

  // Where the keys of a layer and KV head begin in block 0; all else of them follows.
  std::byte* Head(int layer, int kv_head) const;
  // In bytes: of keys, of keys and values, and of all of a head in a block.
  static int64_t KeyBytes(const Shape& shape);
  static int64_t ScalesAt(const Shape& shape);
  static int64_t HeadStride(const Shape& shape);
  static int64_t BlockStride(const Shape& shape);

  const Shape shape_;
  const std::unique_ptr<HostBuffer> arena_;
};

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_KV_ARENA_H_
