#include "worker/net/tcp_options.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>

namespace phalanx {
namespace {

void Set(int socket, int level, int option, int value) {
  setsockopt(socket, level, option, &value, sizeof(value));
}

}  // namespace

void SetTcpOptions(int socket, absl::Duration silence_limit) {
  Set(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  // Half of the time a connection may idle before the host is asked; then a question each second.
  const int seconds = std::max(2, static_cast<int>(absl::ToInt64Seconds(silence_limit)));
  Set(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  Set(socket, IPPROTO_TCP, TCP_KEEPIDLE, seconds / 2);
  Set(socket, IPPROTO_TCP, TCP_KEEPINTVL, 1);
  Set(socket, IPPROTO_TCP, TCP_KEEPCNT, seconds - seconds / 2);
}

void LimitTcpSilence(int socket, absl::Duration silence_limit) {
  Set(socket, IPPROTO_TCP, TCP_USER_TIMEOUT,
      static_cast<int>(absl::ToInt64Milliseconds(silence_limit)));
}

}  // namespace phalanx
