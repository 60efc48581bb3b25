// A TCP port to serve on.
#ifndef PHALANX_BASE_LISTEN_SOCKET_H_
#define PHALANX_BASE_LISTEN_SOCKET_H_

#include "absl/status/statusor.h"
#include "base/host_port.h"

namespace phalanx {

struct ListenSocket {
  // A listening socket, non-blocking and close-on-exec. The caller closes it.
  int fd = -1;
  int port = 0;
};

// Listens at `address`, on a free port if its port is 0. [::] takes IPv4 connections too, and a
// host without IPv6 listens at 0.0.0.0 instead. A name listens at the first of its addresses.
// UNAVAILABLE, with address and reason, if that is not possible: the port is in use, the address is
// not one of this machine, there is no such name.
absl::StatusOr<ListenSocket> Listen(const HostPort& address);

}  // namespace phalanx

#endif  // PHALANX_BASE_LISTEN_SOCKET_H_
