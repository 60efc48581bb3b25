#include "worker/comm/net_hello.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/errno_text.h"
#include "base/log.h"

namespace phalanx {
namespace {

constexpr uint32_t kHelloMagic = 0x68434850;    // "PHCh"
constexpr uint32_t kAddressMagic = 0x61434850;  // "PHCa"
constexpr int kMaxPort = 65535;

struct HelloWire {
  uint32_t magic;
  NetNonce nonce;
  uint32_t rank;
  uint32_t world;
  uint32_t port;
  uint32_t zero;
};
static_assert(sizeof(HelloWire) == kNetHelloBytes);

struct AddressWire {
  uint32_t magic;
  uint32_t port;
  char host[64];  // Ends with a NUL: an address of IPv6 with its zone is shorter.
};
static_assert(sizeof(AddressWire) == kNetAddressBytes);

// Takes as long wherever the first difference is, so that nobody can find the nonce byte by byte.
bool IsSameNonce(const NetNonce& a, const NetNonce& b) {
  unsigned differences = 0;
  for (size_t i = 0; i < a.size(); ++i) differences |= a[i] ^ b[i];
  return differences == 0;
}

}  // namespace

absl::StatusOr<NetNonce> MakeNetNonce() {
  NetNonce nonce;
  // So few bytes are never cut short.
  if (getrandom(nonce.data(), nonce.size(), 0) != static_cast<ssize_t>(nonce.size())) {
    return absl::InternalError(absl::StrCat("no random bytes: ", ErrnoText(errno)));
  }
  return nonce;
}

std::string EncodeNetInvitation(const NetInvitation& invitation) {
  std::string bytes(invitation.nonce.begin(), invitation.nonce.end());
  bytes.push_back(static_cast<char>(invitation.port >> 8));
  bytes.push_back(static_cast<char>(invitation.port & 0xff));
  return bytes;
}

absl::StatusOr<NetInvitation> DecodeNetInvitation(absl::string_view bytes) {
  NetInvitation invitation;
  const size_t nonce_bytes = invitation.nonce.size();
  if (bytes.size() != nonce_bytes + 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("the leader's invitation is none to ranks that meet by network: it has ",
                     bytes.size(), " bytes instead of ", nonce_bytes + 2));
  }
  std::memcpy(invitation.nonce.data(), bytes.data(), nonce_bytes);
  invitation.port =
      static_cast<uint8_t>(bytes[nonce_bytes]) << 8 | static_cast<uint8_t>(bytes[nonce_bytes + 1]);
  if (invitation.port == 0) {
    return absl::InvalidArgumentError("the leader's invitation names no port");
  }
  return invitation;
}

NetHelloBytes EncodeNetHello(const NetHello& hello) {
  const HelloWire wire = {.magic = kHelloMagic,
                          .nonce = hello.nonce,
                          .rank = static_cast<uint32_t>(hello.rank),
                          .world = static_cast<uint32_t>(hello.world),
                          .port = static_cast<uint32_t>(hello.port),
                          .zero = 0};
  NetHelloBytes bytes;
  std::memcpy(bytes.data(), &wire, sizeof(wire));
  return bytes;
}

absl::StatusOr<NetHello> DecodeNetHello(const NetHelloBytes& bytes, const NetNonce& nonce,
                                        int world) {
  HelloWire wire;
  std::memcpy(&wire, bytes.data(), sizeof(wire));
  if (wire.magic != kHelloMagic) {
    return absl::PermissionDeniedError("it does not speak the ranks' language");
  }
  if (!IsSameNonce(wire.nonce, nonce)) {
    return absl::PermissionDeniedError("it does not know the secret of this forming of the group");
  }
  if (wire.world != static_cast<uint32_t>(world) || wire.rank == 0 || wire.rank >= wire.world) {
    return absl::InvalidArgumentError(absl::StrCat("it says that it is rank ", wire.rank, " of ",
                                                   wire.world, " in a group of ", world));
  }
  if (wire.port == 0 || wire.port > kMaxPort) {
    return absl::InvalidArgumentError(absl::StrCat("it says that it listens on port ", wire.port));
  }
  return NetHello{.nonce = wire.nonce,
                  .rank = static_cast<int>(wire.rank),
                  .world = static_cast<int>(wire.world),
                  .port = static_cast<int>(wire.port)};
}

void EncodeNetAddress(const HostPort& address, absl::Span<std::byte> bytes) {
  AddressWire wire = {
      .magic = kAddressMagic, .port = static_cast<uint32_t>(address.port), .host = {}};
  CHECK(address.host.size() < sizeof(wire.host) && bytes.size() == sizeof(wire)) << address.host;
  std::memcpy(wire.host, address.host.data(), address.host.size());
  std::memcpy(bytes.data(), &wire, sizeof(wire));
}

absl::StatusOr<HostPort> DecodeNetAddress(absl::Span<const std::byte> bytes) {
  AddressWire wire;
  CHECK(bytes.size() == sizeof(wire)) << bytes.size();
  std::memcpy(&wire, bytes.data(), sizeof(wire));
  const char* const end = std::find(wire.host, wire.host + sizeof(wire.host), '\0');
  if (wire.magic != kAddressMagic || wire.port == 0 || wire.port > kMaxPort ||
      end == wire.host + sizeof(wire.host)) {
    return absl::InternalError("rank 0 did not tell where the other ranks listen");
  }
  return HostPort{.host = std::string(wire.host, end - wire.host),
                  .port = static_cast<int>(wire.port)};
}

}  // namespace phalanx
