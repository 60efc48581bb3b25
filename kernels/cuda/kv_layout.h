// How keys and values lie in device memory: for each layer all keys, then all values, each
// [block, KV head, token in the block, head_dim]. So what attention reads at once, the tokens of a
// block for one head, lies together.
#ifndef PHALANX_KERNELS_CUDA_KV_LAYOUT_H_
#define PHALANX_KERNELS_CUDA_KV_LAYOUT_H_

#include <cstdint>

#include "kernels/dtype.h"
#include "kernels/host_device.h"
#include "kernels/step_batch.h"

namespace phalanx::kernels::cuda {

// One layer's part of the cache.
struct KvLayer {
  void* keys = nullptr;
  void* values = nullptr;
  DType dtype = DType::kF32;
  int num_kv_heads = 0;
  int head_dim = 0;

  // Where, in elements, what a token has for a head begins, in keys and in values.
  PHALANX_HOST_DEVICE int64_t Offset(int64_t block, int head, int token) const {
    return ((block * num_kv_heads + head) * kKvBlockTokens + token) * head_dim;
  }
};

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_KV_LAYOUT_H_
