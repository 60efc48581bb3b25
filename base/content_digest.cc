#include "base/content_digest.h"

#include <xxhash.h>

#include "absl/strings/str_format.h"
#include "base/log.h"

namespace phalanx {

ContentDigest::ContentDigest() : state_(XXH3_createState()) {
  CHECK(state_ != nullptr && XXH3_128bits_reset(state_.get()) == XXH_OK);
}

ContentDigest::~ContentDigest() = default;

void ContentDigest::FreeState::operator()(XXH3_state_s* state) const { XXH3_freeState(state); }

void ContentDigest::Add(absl::Span<const std::byte> bytes) {
  XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
}

std::string ContentDigest::Hex() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
  return absl::StrFormat("%016x%016x", hash.high64, hash.low64);
}

}  // namespace phalanx
