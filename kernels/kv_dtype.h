// The types that keys and values may be kept in.
#ifndef PHALANX_KERNELS_KV_DTYPE_H_
#define PHALANX_KERNELS_KV_DTYPE_H_

#include <cstddef>
#include <cstdint>

namespace phalanx::kernels {

// kInt8 and kFp8 are levels of 8 bits with a scale; kv_quantize.h says what they are.
enum class KvDType : uint8_t { kF32, kBF16, kInt8, kFp8 };

inline constexpr KvDType kAllKvDTypes[] = {KvDType::kF32, KvDType::kBF16, KvDType::kInt8,
                                           KvDType::kFp8};

// As the worker's flag --kv_cache_dtype has it.
constexpr const char* KvDTypeName(KvDType dtype) {
  switch (dtype) {
    case KvDType::kF32:
      return "f32";
    case KvDType::kBF16:
      return "bf16";
    case KvDType::kInt8:
      return "int8";
    case KvDType::kFp8:
      return "fp8";
  }
  return "unknown";
}

// Bytes of one dimension of a key or a value, without the scale.
constexpr size_t KvElementBytes(KvDType dtype) {
  switch (dtype) {
    case KvDType::kF32:
      return 4;
    case KvDType::kBF16:
      return 2;
    case KvDType::kInt8:
    case KvDType::kFp8:
      return 1;
  }
  return 0;
}

// Whether each key and each value of a head has a float32 scale.
constexpr bool HasKvScales(KvDType dtype) {
  return dtype == KvDType::kInt8 || dtype == KvDType::kFp8;
}

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_KV_DTYPE_H_
