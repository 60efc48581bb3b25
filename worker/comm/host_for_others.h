// Under which name other hosts reach one whose connection came to us.
#ifndef PHALANX_WORKER_COMM_HOST_FOR_OTHERS_H_
#define PHALANX_WORKER_COMM_HOST_FOR_OTHERS_H_

#include <sys/socket.h>

#include <string>

#include "absl/status/statusor.h"

namespace phalanx {

// The digits of `address`, of IPv4 or IPv6; those of IPv4 for an address of IPv4 that is written as
// one of IPv6, since other hosts may not have IPv6. Empty for a loopback address, which leads to
// nobody else's host. UNAVAILABLE for an address of another family.
absl::StatusOr<std::string> HostForOthers(const sockaddr_storage& address);

}  // namespace phalanx

#endif  // PHALANX_WORKER_COMM_HOST_FOR_OTHERS_H_
