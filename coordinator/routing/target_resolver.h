// Turns --worker=HOST:PORT into addresses of worker groups.
#ifndef PHALANX_COORDINATOR_ROUTING_TARGET_RESOLVER_H_
#define PHALANX_COORDINATOR_ROUTING_TARGET_RESOLVER_H_

#include <netdb.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/host_port.h"

namespace phalanx {

// All addresses of the target, as "1.2.3.4:port" or "[::1]:port", ascending. Of a name with
// addresses of both families only those of IPv4 are given, since the others would be the same
// groups once more. UNAVAILABLE if the name does not resolve. Blocks for as long as the system's
// resolver does. Thread-safe.
absl::StatusOr<std::vector<std::string>> ResolveTarget(const HostPort& target);

// What ResolveTarget makes of the answers of getaddrinfo. `results` may be null.
std::vector<std::string> AddressesOf(const addrinfo* results, int port);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ROUTING_TARGET_RESOLVER_H_
