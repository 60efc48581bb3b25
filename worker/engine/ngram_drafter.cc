#include "worker/engine/ngram_drafter.h"

#include <algorithm>

#include "base/log.h"

namespace phalanx {
namespace {

// The same in every process, so that plans are.
uint64_t Hash(absl::Span<const int32_t> gram) {
  uint64_t hash = uint64_t{gram.size()} << 32;
  for (const int32_t token : gram) {
    // A round of SplitMix64.
    hash += 0x9e3779b97f4a7c15 + static_cast<uint32_t>(token);
    hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9;
    hash = (hash ^ (hash >> 27)) * 0x94d049bb133111eb;
    hash ^= hash >> 31;
  }
  return hash;
}

}  // namespace

int NgramDrafter::Read(absl::Span<const int32_t> text, int most) {
  const int begin = read_;
  const int end = begin + std::min(most, static_cast<int>(text.size()) - begin);
  for (; read_ < end; ++read_) {
    // What ends in front of this token is followed by it.
    for (int n = kMinGram; n <= std::min(kMaxGram, read_); ++n) {
      ends_[Hash(text.subspan(read_ - n, n))] = read_;
    }
  }
  return read_ - begin;
}

std::optional<int> NgramDrafter::Match(absl::Span<const int32_t> text) const {
  const int size = static_cast<int>(text.size());
  CHECK(read_ == size);
  for (int n = std::min(kMaxGram, size - 1); n >= kMinGram; --n) {
    const absl::Span<const int32_t> suffix = text.last(n);
    const auto it = ends_.find(Hash(suffix));
    if (it == ends_.end() || it->second < n) continue;
    if (text.subspan(it->second - n, n) == suffix) return it->second;
  }
  return std::nullopt;
}

int32_t NgramDrafter::Guess(absl::Span<const int32_t> text, int match, int i) {
  return text[match + i % (static_cast<int>(text.size()) - match)];
}

}  // namespace phalanx
