// Decompression with a bound on the result, since a few bytes may become many.
#ifndef PHALANX_RPC_INFLATE_H_
#define PHALANX_RPC_INFLATE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace phalanx {

enum class Compression {
  // RFC 1952, one member.
  kGzip,
  // RFC 1950: what gRPC calls deflate.
  kZlib,
};

// Returns the inflated bytes. Takes at most about twice `max_bytes` of memory, whatever the input.
// INVALID_ARGUMENT, with a text for the sender, if there are more than `max_bytes` or if
// `compressed` is not one whole stream of this kind.
absl::StatusOr<std::string> Inflate(absl::string_view compressed, Compression compression,
                                    int64_t max_bytes);

}  // namespace phalanx

#endif  // PHALANX_RPC_INFLATE_H_
