// How keys and values lie in device memory: for each layer all keys, then all values, each
// [block, KV head, token in the block, head_dim]. So what attention reads at once, the tokens of a
// block for one head, lies together. In 8 bits their scales follow, those of all keys, then those
// of all values, each [block, KV head, token in the block] float32.
//
// In 8 bits the dimensions of a head lie in another order, so that tensor cores find them in place.
// The two even bytes and the two odd bytes of a word become a pair of bfloat16 numbers each, and a
// lane gets two keys' words of the values at once. So of 4 dimensions of a key the two in the
// middle change places; and of 16 dimensions of a value, d and d + 8 lie side by side.
#ifndef PHALANX_KERNELS_CUDA_KV_LAYOUT_H_
#define PHALANX_KERNELS_CUDA_KV_LAYOUT_H_

#include <cstdint>

#include "kernels/host_device.h"
#include "kernels/kv_dtype.h"
#include "kernels/step_batch.h"

namespace phalanx::kernels::cuda {

// One layer's part of the cache.
struct KvLayer {
  void* keys = nullptr;
  void* values = nullptr;
  float* key_scales = nullptr;  // Null for types without scales, as are those of values.
  float* value_scales = nullptr;
  KvDType dtype = KvDType::kF32;
  int num_kv_heads = 0;
  int head_dim = 0;

  // Where, in elements, what a token has for a head begins, in keys and in values.
  PHALANX_HOST_DEVICE int64_t Offset(int64_t block, int head, int token) const {
    return ScaleOffset(block, head, token) * head_dim;
  }
  // Where its scale is.
  PHALANX_HOST_DEVICE int64_t ScaleOffset(int64_t block, int head, int token) const {
    return (block * num_kv_heads + head) * kKvBlockTokens + token;
  }

  // Where dimension `d` of a key or a value in 8 bits lies among the others. Heads that are not of
  // whole groups of 16 dimensions, which tensor cores do not take, keep their order.
  PHALANX_HOST_DEVICE int KeyPlace(int d) const {
    if (head_dim % 16 != 0) return d;
    return (d & ~3) | (d & 1) << 1 | (d & 2) >> 1;
  }
  PHALANX_HOST_DEVICE int ValuePlace(int d) const {
    if (head_dim % 16 != 0) return d;
    return (d & ~15) | (d & 7) << 1 | (d & 8) >> 3;
  }
};

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_KV_LAYOUT_H_
