// A TCP port to serve on.
#ifndef PHALANX_BASE_LISTEN_SOCKET_H_
#define PHALANX_BASE_LISTEN_SOCKET_H_

#include "absl/status/statusor.h"
#include "base/host_port.h"

namespace phalanx {

struct ListenSocket {
  // Listens, does not block, closes on exec. The caller's to close.
  int fd = -1;
  int port = 0;
};

// Listens at `address`, on a free port if its port is 0; [::] takes IPv4 too, and a host without
// IPv6 listens at 0.0.0.0 in its place. A name listens at the first of its addresses. UNAVAILABLE
// with address and reason if that cannot be: in use, no address of this machine, no such name.
absl::StatusOr<ListenSocket> Listen(const HostPort& address);

}  // namespace phalanx

#endif  // PHALANX_BASE_LISTEN_SOCKET_H_
