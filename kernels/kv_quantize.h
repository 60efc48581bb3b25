// The arithmetic of keys and values that are kept in 8 bits, to the bit, on the host and on GPUs.
//
// A row is the key, or the value, of one token for one KV head: head_dim numbers x as they are
// stored as activations, a key after its rotation. It is kept as a level for each number and one
// float32 scale, and reads as level * scale:
//
//   amax   the largest |x| of the row
//   scale  amax / kMaxLevel, rounded to float32: kMaxLevel is 127 for int8, 448 for fp8
//   level  x * (1 / scale), both operations rounded to float32, then rounded to the nearest number
//          that the type has, to the even one between two, and cut to [-kMaxLevel, kMaxLevel]
//
// A row whose scale would be below the smallest normal float32, such as one of zeros, has scale 0
// and levels 0, and reads as zeros. A row with a NaN or an infinity has scale NaN and levels 0: all
// of it reads as NaN, so that a fault stays visible. A level is never NaN.
//
// Levels of fp8 are e4m3fn: a sign, 4 bits of exponent with bias 7, 3 bits of fraction; exponent 0
// is for multiples of 2^-9; no infinities; all other bits set is NaN; the largest is 448.
// Source: Micikevicius et al. 2022, "FP8 Formats for Deep Learning", arXiv 2209.05433, table 1.
#ifndef PHALANX_KERNELS_KV_QUANTIZE_H_
#define PHALANX_KERNELS_KV_QUANTIZE_H_

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/host_device.h"
#include "kernels/kv_dtype.h"

namespace phalanx::kernels {

// The bits of |x|. As unsigned numbers they are ordered as the values are, with infinity and NaN
// above all numbers: so the amax of a row is the maximum of these, in any order.
PHALANX_HOST_DEVICE inline uint32_t KvMagnitude(float x) {
  return std::bit_cast<uint32_t>(x) & 0x7fffffff;
}

struct KvScale {
  float scale = 0.0f;
  float inverse = 0.0f;  // 1 / scale; 0 if all levels are 0.
};

// The scale of a row of kInt8 or kFp8 by the maximum of KvMagnitude.
PHALANX_HOST_DEVICE inline KvScale KvScaleOf(KvDType dtype, uint32_t amax) {
  constexpr uint32_t kInfinity = 0x7f800000;
  constexpr uint32_t kQuietNan = 0x7fc00000;
  constexpr float kSmallestNormal = 0x1p-126f;
  if (amax >= kInfinity) return {std::bit_cast<float>(kQuietNan), 0.0f};
  const float scale = std::bit_cast<float>(amax) / (dtype == KvDType::kInt8 ? 127.0f : 448.0f);
  // Neither a scale nor its inverse is subnormal, so that it does not matter what hardware makes of
  // such numbers.
  if (scale < kSmallestNormal) return {};
  return {scale, 1.0f / scale};
}

PHALANX_HOST_DEVICE inline int8_t Int8Level(float x, const KvScale& scale) {
  if (scale.inverse == 0.0f) return 0;
  const float level = std::rint(x * scale.inverse);
  return static_cast<int8_t>(level < -127.0f ? -127.0f : level > 127.0f ? 127.0f : level);
}

// The nearest number of e4m3fn, by its 8 bits; beyond the largest that one. `x` is no NaN.
PHALANX_HOST_DEVICE inline uint8_t EncodeE4m3(float x) {
  constexpr uint32_t kMostBits = 0x43e00000;   // 448
  constexpr uint32_t kLeastBits = 0x3c800000;  // 2^-6, the smallest with a full fraction.
  const auto sign = static_cast<uint8_t>(std::bit_cast<uint32_t>(x) >> 24 & 0x80);
  uint32_t bits = KvMagnitude(x);
  if (bits > kMostBits) bits = kMostBits;
  if (bits < kLeastBits) {
    // 8 multiples of 2^-9 are 2^-6, whose code is 8 too.
    const float multiples = std::rint(std::bit_cast<float>(bits) * 512.0f);
    return static_cast<uint8_t>(sign | static_cast<uint8_t>(multiples));
  }
  // Of the 23 bits of fraction 3 remain. What is carried out of them raises the exponent by one.
  bits += 0x7ffff + (bits >> 20 & 1);
  constexpr uint32_t kBiasDifference = 127 - 7;
  return static_cast<uint8_t>(sign | ((bits >> 20) - (kBiasDifference << 3)));
}

PHALANX_HOST_DEVICE inline float DecodeE4m3(uint8_t code) {
  const uint32_t magnitude = code & 0x7f;
  const uint32_t sign = static_cast<uint32_t>(code & 0x80) << 24;
  if (magnitude == 0x7f) return std::bit_cast<float>(0x7fc00000 | sign);
  // With exponent and fraction where a float32 has them, it is 2^(127 - 7) too small. Exact, for
  // exponent 0 too.
  const float value = std::bit_cast<float>(magnitude << 20) * 0x1p120f;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | sign);
}

PHALANX_HOST_DEVICE inline uint8_t Fp8Level(float x, const KvScale& scale) {
  return scale.inverse == 0.0f ? 0 : EncodeE4m3(x * scale.inverse);
}

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_KV_QUANTIZE_H_
