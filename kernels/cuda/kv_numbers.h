// The element types of KV caches in device memory. Only for kernel sources.
#ifndef PHALANX_KERNELS_CUDA_KV_NUMBERS_H_
#define PHALANX_KERNELS_CUDA_KV_NUMBERS_H_

#include <cstdint>

#include "kernels/cuda/device.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/mma.h"
#include "kernels/cuda/numbers.h"
#include "kernels/kv_dtype.h"
#include "kernels/kv_quantize.h"

namespace phalanx::kernels::cuda {

// Levels, see kernels/kv_quantize.h. 0 bits are the level 0.
struct Int8 {
  uint8_t bits;
};
struct Fp8 {
  uint8_t bits;
};

// Whether levels of this type have scales.
template <typename Kv>
inline constexpr bool kHasScales = sizeof(Kv) == 1;

__device__ __forceinline__ float ToFloat(Int8 level) { return static_cast<int8_t>(level.bits); }
__device__ __forceinline__ float ToFloat(Fp8 level) { return DecodeE4m3(level.bits); }

template <typename Kv>
__device__ Kv LevelOf(float x, const KvScale& scale);
template <>
__device__ __forceinline__ Int8 LevelOf<Int8>(float x, const KvScale& scale) {
  return {static_cast<uint8_t>(Int8Level(x, scale))};
}
template <>
__device__ __forceinline__ Fp8 LevelOf<Fp8>(float x, const KvScale& scale) {
  return {Fp8Level(x, scale)};
}

template <typename Kv>
inline constexpr KvDType kKvDTypeOf = KvDType::kInt8;
template <>
inline constexpr KvDType kKvDTypeOf<Fp8> = KvDType::kFp8;

// Calls f with a TypeTag of the element type.
template <typename Function>
void WithKvType(KvDType dtype, Function f) {
  switch (dtype) {
    case KvDType::kF32:
      return f(TypeTag<float>());
    case KvDType::kBF16:
      return f(TypeTag<BFloat16>());
    case KvDType::kInt8:
      return f(TypeTag<Int8>());
    case KvDType::kFp8:
      return f(TypeTag<Fp8>());
  }
}

// Two pairs of bfloat16 numbers, which hold levels of both types exactly.
struct LevelPairs {
  uint32_t even;
  uint32_t odd;
};

// a * b + c for each of two bfloat16 numbers.
__device__ __forceinline__ uint32_t MultiplyAddPairs(uint32_t a, uint32_t b, uint32_t c) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  uint32_t result;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
  return result;
#else
  const auto number = [](uint32_t bits) { return ToFloat(BFloat16{static_cast<uint16_t>(bits)}); };
  return PackBFloat16(fmaf(number(a), number(b), number(c)),
                      fmaf(number(a >> 16), number(b >> 16), number(c >> 16)));
#endif
}

// From levels in bytes 0 and 2 of a word; the other bytes are zeros.
template <typename Kv>
__device__ uint32_t PairOf(uint32_t bytes);
// The lower 7 bits u of a level, behind the exponent of 128, are the number 128 + u. The sign bit,
// there, is 128 or 256: what is to be subtracted.
template <>
__device__ __forceinline__ uint32_t PairOf<Int8>(uint32_t bytes) {
  constexpr uint32_t k128 = 0x43004300;
  constexpr uint32_t kMinusOne = 0xbf80bf80;
  return MultiplyAddPairs(k128 | (bytes & 0x00800080), kMinusOne, k128 | (bytes & 0x007f007f));
}
// With exponent and fraction where a bfloat16 number has them, a level is 2^(127 - 7) too small.
// GPUs from 8.9 on convert e4m3 to float16, from where it is two steps more to bfloat16: this is
// fewer.
template <>
__device__ __forceinline__ uint32_t PairOf<Fp8>(uint32_t bytes) {
  constexpr uint32_t kTwoTo120 = 0x7b807b80;
  constexpr uint32_t kMinusZero = 0x80008000;
  return MultiplyAddPairs((bytes & 0x00800080) << 8 | (bytes & 0x007f007f) << 4, kTwoTo120,
                          kMinusZero);
}

// The four levels of a word: those of its even bytes, and of its odd ones.
template <typename Kv>
__device__ __forceinline__ LevelPairs PairsOf(uint32_t word) {
  return {PairOf<Kv>(word & 0x00ff00ff), PairOf<Kv>(word >> 8 & 0x00ff00ff)};
}

}  // namespace phalanx::kernels::cuda

#endif  // PHALANX_KERNELS_CUDA_KV_NUMBERS_H_
