// A digest of bytes, to tell whether two processes hold the same ones.
#ifndef PHALANX_BASE_CONTENT_DIGEST_H_
#define PHALANX_BASE_CONTENT_DIGEST_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/types/span.h"

struct XXH3_state_s;

namespace phalanx {

// 128 bits of XXH3, at several GB/s. Not cryptographic: it catches accidents, not attacks.
// Thread-compatible.
class ContentDigest {
 public:
  ContentDigest();
  ContentDigest(const ContentDigest&) = delete;
  ContentDigest& operator=(const ContentDigest&) = delete;
  ~ContentDigest();

  // The digest is that of all bytes added so far, one after the other, in whatever pieces they
  // came.
  void Add(absl::Span<const std::byte> bytes);

  // 32 hexadecimal digits.
  std::string Hex() const;

 private:
  struct FreeState {
    void operator()(XXH3_state_s* state) const;
  };
  const std::unique_ptr<XXH3_state_s, FreeState> state_;
};

}  // namespace phalanx

#endif  // PHALANX_BASE_CONTENT_DIGEST_H_
