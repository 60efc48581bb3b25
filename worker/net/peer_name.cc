#include "worker/net/peer_name.h"

#include <netdb.h>
#include <sys/socket.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace phalanx {
namespace {

constexpr char kUnknown[] = "an unknown peer";

std::string ProcessOf(int socket) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return kUnknown;
  return absl::StrCat("process ", peer.pid);
}

}  // namespace

std::string PeerName(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (getpeername(socket, generic, &size) != 0) return kUnknown;
  if (address.ss_family == AF_UNIX) return ProcessOf(socket);
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  if (getnameinfo(generic, size, host, sizeof(host), port, sizeof(port),
                  NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return kUnknown;
  }
  // How an IPv6 socket shows IPv4.
  const absl::string_view text = absl::StripPrefix(host, "::ffff:");
  if (absl::StrContains(text, ':')) return absl::StrCat("[", text, "]:", port);
  return absl::StrCat(text, ":", port);
}

}  // namespace phalanx
