#include "base/listen_socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/errno_text.h"

namespace phalanx {
namespace {

// How many connections may wait to be accepted.
constexpr int kBacklog = 128;

absl::Status CannotListen(const HostPort& address, absl::string_view reason) {
  return absl::UnavailableError(
      absl::StrCat("cannot listen on ", address.ToString(), ": ", reason));
}

// Returns 0, or errno.
int Bind(int fd, const addrinfo& info) {
  const int on = 1;
  const int off = 0;
  // So that a restarted program gets its port although old connections are in TIME_WAIT.
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (info.ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  if (bind(fd, info.ai_addr, info.ai_addrlen) != 0 || listen(fd, kBacklog) != 0) return errno;
  return 0;
}

int PortOf(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  // The port is at the same place for both families.
  return ntohs(reinterpret_cast<const sockaddr_in*>(&address)->sin_port);
}

}  // namespace

absl::StatusOr<ListenSocket> Listen(const HostPort& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* results = nullptr;
  const int error =
      getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &results);
  if (error != 0) return CannotListen(address, gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(results, freeaddrinfo);
  const int fd = socket(results->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    // Dialable makes "::1" of each spelling of [::]. [::1] itself has no place on a host without
    // IPv6.
    const bool no_ipv6 = errno == EAFNOSUPPORT && Dialable(address).host == "::1";
    if (no_ipv6 && address.host != "::1") return Listen({"0.0.0.0", address.port});
    return CannotListen(address, ErrnoText(errno));
  }
  if (const int bind_error = Bind(fd, *results); bind_error != 0) {
    close(fd);
    return CannotListen(address, ErrnoText(bind_error));
  }
  return ListenSocket{fd, PortOf(fd)};
}

}  // namespace phalanx
