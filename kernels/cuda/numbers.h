// Number types of device memory, and reading and writing them as float32. Only for kernel sources.
#ifndef PHALANX_KERNELS_CUDA_NUMBERS_H_
#define PHALANX_KERNELS_CUDA_NUMBERS_H_

#include <cstdint>

#include "kernels/cuda/device.h"

#ifndef __CUDACC__
#include "kernels/bfloat16.h"
#include "kernels/dequantize.h"
#endif

namespace phalanx::kernels::cuda {

struct BFloat16 {
  uint16_t bits;
};
struct Half {
  uint16_t bits;
};

__device__ __forceinline__ float ToFloat(float value) { return value; }
__device__ __forceinline__ float ToFloat(BFloat16 value) {
  return __uint_as_float(uint32_t{value.bits} << 16);
}
__device__ __forceinline__ float ToFloat(Half value) {
#ifndef __CUDACC__
  return HalfToFloat(value.bits);
#else
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
#endif
}

// Rounds to the nearest, to even between two.
template <typename T>
__device__ T FromFloat(float value);
template <>
__device__ __forceinline__ float FromFloat<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ BFloat16 FromFloat<BFloat16>(float value) {
#ifndef __CUDACC__
  return {FloatToBFloat16(value)};
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  const uint32_t bits = __float_as_uint(value);
  if (isnan(value)) return {static_cast<uint16_t>(bits >> 16 | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
#else
  BFloat16 result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
#endif
}

// kCount elements that lie together, as one access; their address is a multiple of their size, or
// of 16 bytes if they are longer.
template <typename T, int kCount>
struct alignas(sizeof(T) * kCount < 16 ? sizeof(T) * kCount : 16) Pack {
  T values[kCount];
};

template <int kCount, typename T>
__device__ __forceinline__ void LoadFloats(const T* from, float* to) {
  const auto pack = *reinterpret_cast<const Pack<T, kCount>*>(from);
#pragma unroll
  for (int i = 0; i < kCount; ++i) to[i] = ToFloat(pack.values[i]);
}

template <int kCount, typename T>
__device__ __forceinline__ void StoreFloats(const float* from, T* to) {
  Pack<T, kCount> pack;
#pragma unroll
  for (int i = 0; i < kCount; ++i) pack.values[i] = FromFloat<T>(from[i]);
  *reinterpret_cast<Pack<T, kCount>*>(to) = pack;
}

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_NUMBERS_H_
