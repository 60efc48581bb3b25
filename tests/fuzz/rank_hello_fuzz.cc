// What ranks by network read from whoever connects, and from rank 0. The first byte chooses which.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/log.h"
#include "worker/comm/net_hello.h"

namespace phalanx {
namespace {

constexpr int kWorld = 4;

void CheckInvitation(absl::string_view bytes) {
  const absl::StatusOr<NetInvitation> invitation = DecodeNetInvitation(bytes);
  CHECK(invitation.ok() || absl::IsInvalidArgument(invitation.status())) << invitation.status();
  if (!invitation.ok()) return;
  CHECK(EncodeNetInvitation(*invitation) == bytes);
}

// The input is read by a rank whose nonce is the zeros that seeds have.
void CheckHello(absl::string_view bytes) {
  NetHelloBytes wire = {};
  std::memcpy(wire.data(), bytes.data(), std::min(bytes.size(), wire.size()));
  const absl::StatusOr<NetHello> hello = DecodeNetHello(wire, NetNonce{}, kWorld);
  if (!hello.ok()) return;
  CHECK(hello->nonce == NetNonce{});
  CHECK(hello->rank > 0 && hello->rank < kWorld && hello->world == kWorld) << hello->rank;
  CHECK(hello->port > 0 && hello->port < 1 << 16) << hello->port;
}

void CheckAddress(absl::string_view bytes) {
  std::vector<std::byte> wire(kNetAddressBytes);
  std::memcpy(wire.data(), bytes.data(), std::min(bytes.size(), wire.size()));
  const absl::StatusOr<HostPort> address = DecodeNetAddress(wire);
  if (!address.ok()) return;
  CHECK(address->port > 0 && address->port < 1 << 16) << address->port;
  CHECK(address->host.find('\0') == std::string::npos);
}

}  // namespace
}  // namespace phalanx

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const absl::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 3 == 0) phalanx::CheckInvitation(rest);
  if (data[0] % 3 == 1) phalanx::CheckHello(rest);
  if (data[0] % 3 == 2) phalanx::CheckAddress(rest);
  return 0;
}
