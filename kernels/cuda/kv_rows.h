// What a step adds to the KV cache: heads that are rotated, and keys and values in the type of the
// cache. Each operation is rounded as it is written here, so a key has the same bits in every
// kernel that writes it. Only for kernel sources.
#ifndef PHALANX_KERNELS_CUDA_KV_ROWS_H_
#define PHALANX_KERNELS_CUDA_KV_ROWS_H_

#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/cuda/kv_layout.h"
#include "kernels/cuda/kv_numbers.h"
#include "kernels/cuda/numbers.h"
#include "kernels/cuda/warp.h"
#include "kernels/kv_quantize.h"

namespace phalanx::kernels::cuda {

// The angles of one token, as Backend::RopeAngles leaves them.
struct TokenAngles {
  const float* cosines;
  const float* sines;
  int half;  // How many there are: a head's dimensions from 2 half on are not rotated.

  __device__ TokenAngles(const float* cos_sin, int64_t token, int half)
      : cosines(cos_sin + token * 2 * half), sines(cosines + half), half(half) {}
};

// The numbers that a pair (low, high) of dimensions turns into. A sum is one operation with one of
// its products, whatever the compiler would make of it.
__device__ __forceinline__ float RotatedLow(float low, float high, float cosine, float sine) {
  return fmaf(low, cosine, -(high * sine));
}
__device__ __forceinline__ float RotatedHigh(float low, float high, float cosine, float sine) {
  return fmaf(high, cosine, low * sine);
}

// Dimension `d` of a head, once it is rotated.
template <typename T>
__device__ __forceinline__ T RotatedAt(const T* head, int d, const TokenAngles& angles) {
  if (d >= 2 * angles.half) return head[d];
  const bool is_low = d < angles.half;
  const int j = is_low ? d : d - angles.half;
  const float low = ToFloat(head[j]);
  const float high = ToFloat(head[j + angles.half]);
  const float cosine = angles.cosines[j];
  const float sine = angles.sines[j];
  return FromFloat<T>(is_low ? RotatedLow(low, high, cosine, sine)
                             : RotatedHigh(low, high, cosine, sine));
}

// Gives each number of a row of the cache to `put(d, number)`, and returns its scale, if the type
// has one. `value(d)` is the number as it is stored as an activation. All lanes of a warp call it.
template <typename Kv, typename Value, typename Put>
__device__ float PutRow(int head_dim, Value value, Put put) {
  KvScale scale;
  if constexpr (kHasScales<Kv>) {
    uint32_t amax = 0;
    for (int d = LaneId(); d < head_dim; d += kWarpSize) amax = max(amax, KvMagnitude(value(d)));
    scale = KvScaleOf(kKvDTypeOf<Kv>, WarpMax(amax));
  }
  for (int d = LaneId(); d < head_dim; d += kWarpSize) {
    if constexpr (kHasScales<Kv>) {
      put(d, LevelOf<Kv>(value(d), scale));
    } else {
      put(d, FromFloat<Kv>(value(d)));
    }
  }
  return scale.scale;
}

// A copy, in shared memory, of what one token has in the cache for one KV head, as it lies there.
template <typename Kv>
struct TokenCopy {
  Kv* key = nullptr;    // Null for no copy.
  Kv* value = nullptr;  // As are these.
  float* scales = nullptr;
};

// Writes what a token has for one KV head to the cache, at `at`, its KvLayer::ScaleOffset. `key(d)`
// and `value(d)` are numbers as they are stored as activations, the key's once it is rotated. One
// warp writes the key and another one the value: those with `row` 0 and 1.
template <typename Kv, typename Key, typename Value>
__device__ void WriteToken(const KvLayer& cache, int64_t at, int row, Key key, Value value,
                           const TokenCopy<Kv>& copy = {}) {
  const int64_t first = at * cache.head_dim;
  const auto put = [](int place, Kv number, Kv* to, Kv* second) {
    to[place] = number;
    if (second != nullptr) second[place] = number;
  };
  float scale;
  if (row == 0) {
    Kv* const to = static_cast<Kv*>(cache.keys) + first;
    scale = PutRow<Kv>(cache.head_dim, key, [&](int d, Kv number) {
      put(kHasScales<Kv> ? cache.KeyPlace(d) : d, number, to, copy.key);
    });
  } else {
    Kv* const to = static_cast<Kv*>(cache.values) + first;
    scale = PutRow<Kv>(cache.head_dim, value, [&](int d, Kv number) {
      put(kHasScales<Kv> ? cache.ValuePlace(d) : d, number, to, copy.value);
    });
  }
  if (!kHasScales<Kv> || LaneId() != 0) return;
  (row == 0 ? cache.key_scales : cache.value_scales)[at] = scale;
  if (copy.scales != nullptr) copy.scales[row] = scale;
}

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_KV_ROWS_H_
