#include "model/checkpoint/fingerprint.h"

#include <cstring>

#include "absl/strings/str_format.h"

namespace phalanx {
namespace {

constexpr uint64_t kPrime = 0x100000001b3;

uint64_t Fnv1a(uint64_t hash, absl::Span<const std::byte> bytes) {
  for (const std::byte byte : bytes) hash = (hash ^ static_cast<uint64_t>(byte)) * kPrime;
  return hash;
}

}  // namespace

void Fingerprint::AddFile(absl::Span<const std::byte> header, uint64_t file_bytes) {
  std::byte size_bytes[sizeof(file_bytes)];
  std::memcpy(size_bytes, &file_bytes, sizeof(file_bytes));
  hash_ = Fnv1a(Fnv1a(hash_, header), size_bytes);
}

std::string Fingerprint::Hex() const { return absl::StrFormat("%016x", hash_); }

}  // namespace phalanx
