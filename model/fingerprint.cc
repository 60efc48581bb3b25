#include "model/fingerprint.h"

#include <cstdint>
#include <cstring>

#include "absl/strings/str_format.h"

namespace phalanx {
namespace {

// FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/.
constexpr uint64_t kOffsetBasis = 0xcbf29ce484222325;
constexpr uint64_t kPrime = 0x100000001b3;

uint64_t Fnv1a(uint64_t hash, absl::Span<const std::byte> bytes) {
  for (const std::byte byte : bytes) hash = (hash ^ static_cast<uint64_t>(byte)) * kPrime;
  return hash;
}

}  // namespace

std::string ModelFingerprint(const GgufFile& file) {
  const uint64_t size = file.file_bytes();
  std::byte size_bytes[sizeof(size)];
  std::memcpy(size_bytes, &size, sizeof(size));
  return absl::StrFormat("%016x", Fnv1a(Fnv1a(kOffsetBasis, file.header()), size_bytes));
}

}  // namespace phalanx
