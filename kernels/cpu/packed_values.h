// Numbers among packed bytes, which need not be aligned.
#ifndef PHALANX_KERNELS_CPU_PACKED_VALUES_H_
#define PHALANX_KERNELS_CPU_PACKED_VALUES_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace phalanx::kernels {

// Number `index` of those that lie one after the other from `from` on.
template <typename T>
T LoadAt(const std::byte* from, int64_t index) {
  T value;
  std::memcpy(&value, from + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

template <typename T>
void StoreAt(std::byte* to, int64_t index, T value) {
  std::memcpy(to + index * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
}

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_PACKED_VALUES_H_
