// One batch of a step as one piece of memory.
//
// The scheduler fills it in place, the same bytes go to the ranks, and a backend gets them in one
// copy. It holds a header with the counts, then the arrays of a list of kernels/step_batch.h one
// behind the other. Where each one lies follows from the counts.
#ifndef PHALANX_WORKER_STEP_FLAT_BLOCK_H_
#define PHALANX_WORKER_STEP_FLAT_BLOCK_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory_resource>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "kernels/step_batch.h"

namespace phalanx {

// `List` is kernels::StepList or kernels::SamplingList. A block can be moved, not copied. Its
// memory comes from `memory`, which a backend may offer for faster copies and which must outlive
// the block.
template <typename List>
class FlatBlock {
 public:
  using Counts = typename List::Counts;
  template <typename T>
  using ConstSpan = absl::Span<const T>;
  using Arrays = typename List::template Arrays<absl::Span>;
  using ConstArrays = typename List::template Arrays<ConstSpan>;
  using Pointers = typename List::template Arrays<kernels::ConstPointer>;

  FlatBlock() : FlatBlock(Counts()) {}
  // All elements are zero. No count may be negative.
  explicit FlatBlock(const Counts& counts,
                     std::pmr::memory_resource* memory = std::pmr::get_default_resource())
      : units_(Bytes(counts) / sizeof(Unit), Unit(), memory) {
    const Header header = {.version = kVersion, .counts = counts};
    std::memcpy(base(), &header, sizeof(header));
  }
  FlatBlock(FlatBlock&&) noexcept = default;
  // Copies the bytes if the two blocks have their memory from different places.
  FlatBlock& operator=(FlatBlock&&) noexcept = default;
  FlatBlock(const FlatBlock&) = delete;
  FlatBlock& operator=(const FlatBlock&) = delete;

  // Takes a block from its bytes, which need not be aligned. INTERNAL if they are not a block of
  // this build's list, or more bytes or fewer than the counts ask for: the peer is broken or of
  // another build. The elements are not checked.
  static absl::StatusOr<FlatBlock> Parse(
      absl::string_view bytes,
      std::pmr::memory_resource* memory = std::pmr::get_default_resource());

  // Memory that a block of these counts takes.
  static size_t Bytes(const Counts& counts) {
    size_t bytes = 0;
    Pointers none;
    List::ForEach(counts, none, [&]<typename T>(const char*, const T*&, int64_t elements) {
      bytes = Place(bytes, elements * sizeof(T));
    });
    return kHeaderBytes + bytes;
  }

  // The arrays of a copy of such a block, which lies at `base` in any memory.
  static Pointers PointersInto(const Counts& counts, const void* base) {
    Pointers arrays;
    const std::byte* next = static_cast<const std::byte*>(base) + kHeaderBytes;
    List::ForEach(counts, arrays, [&]<typename T>(const char*, const T*& array, int64_t elements) {
      array = reinterpret_cast<const T*>(next);
      next += Place(0, elements * sizeof(T));
    });
    return arrays;
  }

  Counts counts() const {
    Header header;
    std::memcpy(&header, base(), sizeof(header));
    return header.counts;
  }

  Arrays arrays() { return SpansInto<Arrays>(base()); }
  ConstArrays arrays() const { return SpansInto<ConstArrays>(base()); }

  absl::string_view bytes() const {
    return {reinterpret_cast<const char*>(base()), units_.size() * sizeof(Unit)};
  }

 private:
  struct Header {
    uint64_t version = 0;
    Counts counts;
  };
  static_assert(std::is_trivially_copyable_v<Header>);

  // Header and arrays begin at multiples of this.
  static constexpr size_t kAlignment = 16;
  struct alignas(kAlignment) Unit {
    std::byte bytes[kAlignment] = {};
  };
  // No list that one build sends is read as another: the version is a hash (FNV-1a) of the list.
  static constexpr uint64_t kVersion = [] {
    uint64_t hash = 0xcbf29ce484222325;
    for (const char c : List::kText) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
    return hash;
  }();

  // Where the next array begins if one of `bytes` begins at `offset`.
  static constexpr size_t Place(size_t offset, size_t bytes) {
    return (offset + bytes + kAlignment - 1) / kAlignment * kAlignment;
  }
  static constexpr size_t kHeaderBytes =
      (sizeof(Header) + kAlignment - 1) / kAlignment * kAlignment;

  template <typename Spans, typename Byte>
  Spans SpansInto(Byte* base) const {
    Spans spans;
    Byte* next = base + kHeaderBytes;
    List::ForEach(counts(), spans,
                  [&]<typename T>(const char*, absl::Span<T>& span, int64_t elements) {
                    span = absl::Span<T>(reinterpret_cast<T*>(next), elements);
                    next += Place(0, elements * sizeof(T));
                  });
    return spans;
  }

  std::byte* base() { return units_.data()->bytes; }
  const std::byte* base() const { return units_.data()->bytes; }

  std::pmr::vector<Unit> units_;
};

template <typename List>
absl::StatusOr<FlatBlock<List>> FlatBlock<List>::Parse(absl::string_view bytes,
                                                       std::pmr::memory_resource* memory) {
  Header header;
  if (bytes.size() < kHeaderBytes) {
    return absl::InternalError(absl::StrCat("a step's block of ", bytes.size(), " bytes"));
  }
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.version != kVersion) {
    return absl::InternalError(absl::StrCat("a step's block is of version ",
                                            absl::Hex(header.version), ", ours is ",
                                            absl::Hex(kVersion)));
  }
  // Counts are 32-bit, so sizes of arrays cannot overflow 64 bits.
  bool negative = false;
  Pointers none;
  List::ForEach(header.counts, none, [&]<typename T>(const char*, const T*&, int64_t elements) {
    negative |= elements < 0;
  });
  if (negative || Bytes(header.counts) != bytes.size()) {
    return absl::InternalError(
        absl::StrCat("a step's block has ", bytes.size(), " bytes, which its counts contradict"));
  }
  FlatBlock block(header.counts, memory);
  std::memcpy(block.base(), bytes.data(), bytes.size());
  return block;
}

using StepBlock = FlatBlock<kernels::StepList>;
using SamplingBlock = FlatBlock<kernels::SamplingList>;

}  // namespace phalanx

#endif  // PHALANX_WORKER_STEP_FLAT_BLOCK_H_
