// Host memory for tests that is aligned as kernels/ops.h demands of a tensor.
#ifndef PHALANX_KERNELS_TESTING_ALIGNED_VECTOR_H_
#define PHALANX_KERNELS_TESTING_ALIGNED_VECTOR_H_

#include <cstddef>
#include <new>
#include <vector>

#include "kernels/ops.h"

namespace phalanx::kernels {

// Unlike HostBuffer, memory of the heap, so that AddressSanitizer sees an op that leaves it.
template <typename T>
struct AlignedAllocator {
  using value_type = T;

  AlignedAllocator() = default;
  template <typename U>
  AlignedAllocator(const AlignedAllocator<U>&) {}  // NOLINT(google-explicit-constructor)

  T* allocate(size_t n) {
    return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(kTensorAlignment)));
  }
  void deallocate(T* data, size_t) { ::operator delete(data, std::align_val_t(kTensorAlignment)); }
  bool operator==(const AlignedAllocator&) const { return true; }
};

template <typename T>
using AlignedVector = std::vector<T, AlignedAllocator<T>>;

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_TESTING_ALIGNED_VECTOR_H_
