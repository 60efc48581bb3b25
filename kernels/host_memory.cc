#include "kernels/host_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>

#include "absl/strings/str_cat.h"

namespace phalanx::kernels {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;
constexpr size_t kPageBytes = 4096;

// mmap takes no empty range; a buffer of no bytes still has an address.
size_t MappedBytes(size_t bytes) { return std::max<size_t>(bytes, 1); }

// MAP_FAILED if there is not so much address space. NORESERVE, because callers ask for the most
// that they may ever use (scratch for the largest step, say) and may use far less; those that want
// all of it call Populate. Whether it fits the machine is checked before (worker/memory_plan.h).
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

// Writes to each page what is there. The pages are not shared, so the value need not be atomic; it
// is volatile so that the compiler leaves the write where it changes nothing.
void TouchPages(std::byte* data, size_t bytes) {
  for (size_t at = 0; at < bytes; at += kPageBytes) {
    volatile std::byte* const page = data + at;
    *page = *page;
  }
}

// Whether the system has given the pages.
bool PopulateRange(std::byte* data, size_t bytes) {
#ifdef MADV_POPULATE_WRITE
  int result = 0;
  do {
    result = madvise(data, bytes, MADV_POPULATE_WRITE);
  } while (result != 0 && (errno == EINTR || errno == EAGAIN));
  if (result == 0) return true;
  // Linux before 5.14 does not know it.
  if (errno != EINVAL) return false;
#endif
  TouchPages(data, bytes);
  return true;
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

absl::Status HostBuffer::Populate(ForEachPiece for_each_piece) {
  // Pieces of whole huge pages, since the first one to touch such a page gets all of it. Small ones
  // do not pay for a thread.
  constexpr size_t kPieceBytes = 8 * kHugePageBytes;
  auto* const data = static_cast<std::byte*>(data_);
  std::atomic<bool> ok = true;
  for_each_piece((bytes_ + kPieceBytes - 1) / kPieceBytes, [&](size_t piece) {
    const size_t begin = piece * kPieceBytes;
    if (!ok) return;
    if (!PopulateRange(data + begin, std::min(kPieceBytes, bytes_ - begin))) ok = false;
  });
  if (ok) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("the system does not have ", bytes_, " bytes of memory left"));
}

HostBuffer::~HostBuffer() { munmap(data_, MappedBytes(bytes_)); }

}  // namespace phalanx::kernels
