#include "worker/comm/host_for_others.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>

#include <cstring>

namespace phalanx {
namespace {

std::string HostOf(const in_addr& address) {
  char text[INET_ADDRSTRLEN] = "";
  if (ntohl(address.s_addr) >> 24 == IN_LOOPBACKNET) return "";
  return inet_ntop(AF_INET, &address, text, sizeof(text));
}

}  // namespace

absl::StatusOr<std::string> HostForOthers(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    return HostOf(reinterpret_cast<const sockaddr_in&>(address).sin_addr);
  }
  char text[NI_MAXHOST] = "";
  // getnameinfo and not inet_ntop, because it also tells the zone of a link's own address.
  if (address.ss_family != AF_INET6 ||
      getnameinfo(reinterpret_cast<const sockaddr*>(&address), sizeof(sockaddr_in6), text,
                  sizeof(text), nullptr, 0, NI_NUMERICHOST) != 0) {
    return absl::UnavailableError("its address is none of a network");
  }
  const in6_addr& v6 = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&v6)) {
    in_addr v4;
    std::memcpy(&v4, &v6.s6_addr[12], sizeof(v4));
    return HostOf(v4);
  }
  return IN6_IS_ADDR_LOOPBACK(&v6) ? std::string() : std::string(text);
}

}  // namespace phalanx
