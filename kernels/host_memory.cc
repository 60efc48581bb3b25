#include "kernels/host_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"

namespace phalanx::kernels {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;
constexpr size_t kPageBytes = 4096;

// mmap takes no empty range; a buffer of no bytes still has an address.
size_t MappedBytes(size_t bytes) { return std::max<size_t>(bytes, 1); }

// MAP_FAILED if there is not so much address space. NORESERVE, because callers ask for the most
// that they may ever use (a KV cache, say) and may use far less; whether that fits the machine is
// checked before (worker/memory_plan.h).
void* Map(size_t bytes) {
  return mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
              -1, 0);
}

// A mapping that begins at a huge page, by way of a larger one whose ends are given back.
void* MapAtHugePage(size_t bytes) {
  const size_t spare = kHugePageBytes;
  void* const mapped = Map(bytes + spare);
  if (mapped == MAP_FAILED) return mapped;
  const auto begin = reinterpret_cast<uintptr_t>(mapped);
  const uintptr_t aligned = (begin + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
  const uintptr_t end = (aligned + bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  if (aligned > begin) munmap(mapped, aligned - begin);
  if (begin + bytes + spare > end) {
    munmap(reinterpret_cast<void*>(end), begin + bytes + spare - end);
  }
  return reinterpret_cast<void*>(aligned);
}

}  // namespace

absl::StatusOr<std::unique_ptr<HostBuffer>> HostBuffer::Create(size_t bytes) {
  const bool is_large = bytes >= kHugePageBytes;
  void* const data = is_large ? MapAtHugePage(bytes) : Map(MappedBytes(bytes));
  if (data == MAP_FAILED) {
    return absl::ResourceExhaustedError(absl::StrCat("cannot map ", bytes, " bytes of memory"));
  }
  // Only a hint: a system without huge pages is slower, not wrong.
  if (is_large) madvise(data, bytes, MADV_HUGEPAGE);
  return std::unique_ptr<HostBuffer>(new HostBuffer(data, bytes));
}

HostBuffer::~HostBuffer() { munmap(data_, MappedBytes(bytes_)); }

}  // namespace phalanx::kernels
