// StreamSocket::Connect.
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/errno_text.h"
#include "base/host_port.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "worker/net/poll_until.h"
#include "worker/net/resolve_host.h"
#include "worker/net/stream_socket.h"

namespace phalanx {
namespace {

constexpr absl::Duration kRetryInterval = absl::Milliseconds(100);
// How long one try may take. The address may be that of a host that is gone, and the name may have
// a better one by then.
constexpr absl::Duration kConnectPatience = absl::Seconds(2);
constexpr absl::Duration kHandshakePatience = absl::Seconds(10);

absl::Status ConnectError(int error) {
  if (error == ECONNREFUSED) return absl::FailedPreconditionError(ErrnoText(error));
  return absl::UnavailableError(ErrnoText(error));
}

absl::StatusOr<UniqueFd> ConnectTo(const HostAddress& address, absl::Time deadline,
                                   int interrupt_fd) {
  UniqueFd socket(
      ::socket(address.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (socket.get() < 0) return absl::UnavailableError(ErrnoText(errno));
  if (connect(socket.get(), address.get(), address.length) == 0) return socket;
  if (errno != EINPROGRESS) return ConnectError(errno);
  pollfd fds[] = {{interrupt_fd, POLLIN, 0}, {socket.get(), POLLOUT, 0}};
  ASSIGN_OR_RETURN(const bool in_time, PollUntil(absl::MakeSpan(fds), deadline));
  if (fds[0].revents != 0) return absl::CancelledError("interrupted while connecting");
  if (!in_time) return absl::UnavailableError("no answer");
  int error = 0;
  socklen_t size = sizeof(error);
  getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) return ConnectError(error);
  return socket;
}

// One try. UNAVAILABLE if another one may do better; FAILED_PRECONDITION if nobody listens.
absl::StatusOr<std::unique_ptr<StreamSocket>> TryOnce(const HostPort& address,
                                                      TlsCredentials* credentials,
                                                      absl::Time deadline, int interrupt_fd) {
  ASSIGN_OR_RETURN(const std::vector<HostAddress> addresses,
                   ResolveHost(address, deadline, interrupt_fd));
  absl::StatusOr<UniqueFd> socket = absl::UnavailableError("no address");
  for (const HostAddress& each : addresses) {
    socket = ConnectTo(each, std::min(deadline, MonotonicClock()->Now() + kConnectPatience),
                       interrupt_fd);
    if (socket.ok() || absl::IsCancelled(socket.status())) break;
  }
  RETURN_IF_ERROR(socket.status());
  if (credentials == nullptr) return StreamSocket::Adopt(*std::move(socket));
  ASSIGN_OR_RETURN(
      std::unique_ptr<StreamSocket> stream,
      StreamSocket::AdoptTls(*std::move(socket), *credentials, TlsSession::End::kClient));
  const absl::Status status = stream->Handshake(
      std::min(deadline, MonotonicClock()->Now() + kHandshakePatience), interrupt_fd);
  if (absl::IsDeadlineExceeded(status)) {
    return absl::UnavailableError("it does not answer in TLS's handshake");
  }
  RETURN_IF_ERROR(status);
  return stream;
}

absl::Status Annotate(const HostPort& address, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat("cannot connect to ", address.ToString(), ": ",
                                                  status.message()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<StreamSocket>> StreamSocket::Connect(
    const HostPort& address, const std::shared_ptr<TlsCredentials>& credentials,
    absl::Time deadline, int interrupt_fd, IfRefused if_refused) {
  while (true) {
    absl::StatusOr<std::unique_ptr<StreamSocket>> stream =
        TryOnce(address, credentials.get(), deadline, interrupt_fd);
    if (stream.ok()) return stream;
    if (absl::IsFailedPrecondition(stream.status())) {
      stream = absl::UnavailableError(stream.status().message());
      if (if_refused == IfRefused::kFail) return Annotate(address, stream.status());
    }
    if (!absl::IsUnavailable(stream.status())) return Annotate(address, stream.status());
    const absl::Time now = MonotonicClock()->Now();
    if (now >= deadline) return Annotate(address, stream.status());
    pollfd interrupt{interrupt_fd, POLLIN, 0};
    ASSIGN_OR_RETURN(const bool interrupted,
                     PollUntil({&interrupt, 1}, std::min(deadline, now + kRetryInterval)));
    if (interrupted) return Annotate(address, absl::CancelledError("interrupted"));
  }
}

}  // namespace phalanx
