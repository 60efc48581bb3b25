// HOST:PORT as command lines have it, with one parser for all of them.
#ifndef PHALANX_BASE_HOST_PORT_H_
#define PHALANX_BASE_HOST_PORT_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace phalanx {

struct HostPort {
  // A name, an IPv4 or an IPv6 address; without brackets.
  std::string host;
  int port = 0;

  // "name:1", "127.0.0.1:1" or "[::1]:1".
  std::string ToString() const;
};

enum class PortUse {
  // 0 to 65535; 0 takes a free port.
  kListen,
  // 1 to 65535.
  kConnect,
};

// Takes "name:1", "127.0.0.1:1" or "[::1]:1", and nothing else: host and port must both be there,
// an IPv6 address must be in brackets, a host whose last part is a number must be an IPv4 address,
// and a port is decimal digits without zeros in front. INVALID_ARGUMENT, saying what is wrong and
// what is expected.
absl::StatusOr<HostPort> ParseHostPort(absl::string_view text, PortUse use);

// Where a client on this machine reaches a server that listens there: 0.0.0.0 and [::], which stand
// for every address, become the loopback address of their family.
HostPort Dialable(HostPort address);

}  // namespace phalanx

#endif  // PHALANX_BASE_HOST_PORT_H_
