#include "kernels/host_memory.h"

#include <sys/mman.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace phalanx::kernels {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;

// mmap takes no empty range; a buffer of no bytes still has an address.
size_t MappedBytes(size_t bytes) { return std::max<size_t>(bytes, 1); }

}  // namespace

absl::StatusOr<std::unique_ptr<HostBuffer>> HostBuffer::Create(size_t bytes) {
  // NORESERVE, because callers ask for the most that they may ever use (a KV cache, say) and may
  // use far less; whether that fits the machine is checked before (worker/memory_plan.h).
  void* data = mmap(nullptr, MappedBytes(bytes), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    return absl::ResourceExhaustedError(absl::StrCat("cannot map ", bytes, " bytes of memory"));
  }
  // Only a hint: a system without huge pages is slower, not wrong.
  if (bytes >= kHugePageBytes) madvise(data, bytes, MADV_HUGEPAGE);
  return std::unique_ptr<HostBuffer>(new HostBuffer(data, bytes));
}

HostBuffer::~HostBuffer() { munmap(data_, MappedBytes(bytes_)); }

}  // namespace phalanx::kernels
