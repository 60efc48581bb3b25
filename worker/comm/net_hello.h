// What ranks say to each other before the first collective of NetCommunicator: all of it has a
// fixed length, in host order, since all ranks of a group run the same build.
#ifndef PHALANX_WORKER_COMM_NET_HELLO_H_
#define PHALANX_WORKER_COMM_NET_HELLO_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/host_port.h"

namespace phalanx {

// 128 random bits that name a forming of a group, and that only its ranks know.
using NetNonce = std::array<uint8_t, 16>;

// INTERNAL if the system has no random bytes.
absl::StatusOr<NetNonce> MakeNetNonce();

// What CommunicatorFactory::Invitation::rendezvous holds. The leader's host is not in it: a rank
// that could ask to join knows it.
struct NetInvitation {
  NetNonce nonce = {};
  int port = 0;  // Where rank 0 listens.
};
std::string EncodeNetInvitation(const NetInvitation& invitation);
// INVALID_ARGUMENT if `bytes` are none.
absl::StatusOr<NetInvitation> DecodeNetInvitation(absl::string_view bytes);

// The first bytes on each connection, from the rank that made it.
struct NetHello {
  NetNonce nonce = {};
  int rank = 0;
  int world = 0;
  int port = 0;  // Where that rank listens; only rank 0 wants to know.
};
inline constexpr size_t kNetHelloBytes = 36;
using NetHelloBytes = std::array<std::byte, kNetHelloBytes>;
NetHelloBytes EncodeNetHello(const NetHello& hello);
// PERMISSION_DENIED if it is no greeting or has another nonce; INVALID_ARGUMENT if its rank or
// world does not fit a group of `world`, or its port is none.
absl::StatusOr<NetHello> DecodeNetHello(const NetHelloBytes& bytes, const NetNonce& nonce,
                                        int world);

// How rank 0 tells the others where they listen, once all have come: an entry of this size for each
// of them, rank 1's first. An empty host stands for the host of rank 0.
inline constexpr size_t kNetAddressBytes = 72;
void EncodeNetAddress(const HostPort& address, absl::Span<std::byte> bytes);
// INTERNAL if `bytes` are no entry.
absl::StatusOr<HostPort> DecodeNetAddress(absl::Span<const std::byte> bytes);

}  // namespace phalanx

#endif  // PHALANX_WORKER_COMM_NET_HELLO_H_
