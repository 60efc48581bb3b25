// What keys and values may be kept in, for telling what they take: kernels/kv_dtype.h without the
// kernels.
#ifndef PHALANX_MODEL_SHARDING_KV_TYPE_H_
#define PHALANX_MODEL_SHARDING_KV_TYPE_H_

#include <cstdint>

namespace phalanx {

enum class KvType { kF32, kBF16, kInt8, kFp8 };

inline constexpr KvType kAllKvTypes[] = {KvType::kF32, KvType::kBF16, KvType::kInt8, KvType::kFp8};

// What they are kept in unless flags tell otherwise.
inline constexpr KvType kCpuKvType = KvType::kBF16;
inline constexpr KvType kGpuKvType = KvType::kBF16;

// As the worker's flag --kv_cache_dtype has it.
constexpr const char* KvTypeName(KvType type) {
  switch (type) {
    case KvType::kF32:
      return "f32";
    case KvType::kBF16:
      return "bf16";
    case KvType::kInt8:
      return "int8";
    case KvType::kFp8:
      return "fp8";
  }
  return "unknown";
}

// The bytes of one number.
constexpr int64_t KvNumberBytes(KvType type) {
  return type == KvType::kF32 ? 4 : type == KvType::kBF16 ? 2 : 1;
}

// The bytes of the scale that each key and each value of a head has beside its numbers.
constexpr int64_t KvScaleBytes(KvType type) {
  return type == KvType::kInt8 || type == KvType::kFp8 ? 4 : 0;
}

}  // namespace phalanx

#endif  // PHALANX_MODEL_SHARDING_KV_TYPE_H_
