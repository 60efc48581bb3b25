#include "model/testing/allocated_bytes.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace phalanx {
namespace {

std::atomic<size_t> allocated_bytes = 0;
std::atomic<size_t> allocations = 0;

}  // namespace

size_t AllocatedBytes() { return allocated_bytes.load(); }
size_t Allocations() { return allocations.load(); }

}  // namespace phalanx

// The other forms of new and delete call these.
void* operator new(size_t size) {
  phalanx::allocated_bytes += size;
  ++phalanx::allocations;
  void* const memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t /*size*/) noexcept { std::free(memory); }
