#include "coordinator/routing/target_resolver.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <memory>
#include <set>

#include "absl/strings/str_cat.h"

namespace phalanx {
namespace {

// The numeric text of a result of getaddrinfo; empty if it is neither IPv4 nor IPv6.
std::string AddressText(const addrinfo& info, int port) {
  char text[INET6_ADDRSTRLEN];
  if (info.ai_family == AF_INET) {
    const auto* address = reinterpret_cast<const sockaddr_in*>(info.ai_addr);
    inet_ntop(AF_INET, &address->sin_addr, text, sizeof(text));
    return HostPort{text, port}.ToString();
  }
  if (info.ai_family == AF_INET6) {
    const auto* address = reinterpret_cast<const sockaddr_in6*>(info.ai_addr);
    inet_ntop(AF_INET6, &address->sin6_addr, text, sizeof(text));
    return HostPort{text, port}.ToString();
  }
  return "";
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ResolveTarget(const HostPort& target) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* results = nullptr;
  const int error =
      getaddrinfo(target.host.c_str(), std::to_string(target.port).c_str(), &hints, &results);
  if (error != 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot resolve --worker ", target.ToString(), ": ", gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(results, freeaddrinfo);
  return AddressesOf(results, target.port);
}

std::vector<std::string> AddressesOf(const addrinfo* results, int port) {
  bool has_ipv4 = false;
  for (const addrinfo* info = results; info != nullptr; info = info->ai_next) {
    has_ipv4 |= info->ai_family == AF_INET;
  }
  // A set: sorted, so that the order in which a name service answers does not matter.
  std::set<std::string> addresses;
  for (const addrinfo* info = results; info != nullptr; info = info->ai_next) {
    if (has_ipv4 && info->ai_family != AF_INET) continue;
    const std::string address = AddressText(*info, port);
    if (!address.empty()) addresses.insert(address);
  }
  return std::vector<std::string>(addresses.begin(), addresses.end());
}

}  // namespace phalanx
