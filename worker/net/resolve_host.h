// Names to addresses, without waiting for a name server longer than wanted.
#ifndef PHALANX_WORKER_NET_RESOLVE_HOST_H_
#define PHALANX_WORKER_NET_RESOLVE_HOST_H_

#include <sys/socket.h>

#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/host_port.h"

namespace phalanx {

struct HostAddress {
  sockaddr_storage address{};
  socklen_t length = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

// The addresses of a name, or the one that `address` spells, in the system's order. UNAVAILABLE if
// there is no such name (yet) or no answer by `deadline`, a time of MonotonicClock(); CANCELLED
// once `interrupt_fd` is readable (-1: never). A question that is given up goes on in a thread of
// its own until the system gives it up too.
absl::StatusOr<std::vector<HostAddress>> ResolveHost(const HostPort& address, absl::Time deadline,
                                                     int interrupt_fd);

}  // namespace phalanx

#endif  // PHALANX_WORKER_NET_RESOLVE_HOST_H_
