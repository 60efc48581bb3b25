#include "worker/net/stream_socket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/errno_text.h"
#include "base/listen_socket.h"
#include "base/status.h"
#include "worker/net/peer_name.h"
#include "worker/net/poll_until.h"
#include "worker/net/tcp_options.h"

namespace phalanx {
namespace {

using Progress = TlsSession::Progress;

// The time after which a call that waits for what is not its own direction looks again: the other
// thread may have taken from the socket what it waits for.
constexpr absl::Duration kLookAgain = absl::Milliseconds(10);

absl::Status Broken(int error) {
  return absl::UnavailableError(absl::StrCat("the connection broke: ", ErrnoText(error)));
}

// What recv or send has returned, in TLS's terms.
absl::StatusOr<Progress> OutcomeOf(ssize_t bytes, short events) {
  if (bytes >= 0) return Progress{.bytes = static_cast<size_t>(bytes)};
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return Progress{.events = events};
  return Broken(errno);
}

// Nothing moved, or the error.
absl::StatusOr<Progress> OkOr(const absl::Status& status) {
  if (status.ok()) return Progress{};
  return status;
}

}  // namespace

StreamSocket::StreamSocket(UniqueFd socket)
    : socket_(std::move(socket)),
      abort_event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      peer_(PeerName(socket_.get())) {
  fcntl(socket_.get(), F_SETFL, fcntl(socket_.get(), F_GETFL) | O_NONBLOCK);
  fcntl(socket_.get(), F_SETFD, FD_CLOEXEC);
  SetTcpOptions(socket_.get(), kSilenceLimit);
}

std::unique_ptr<StreamSocket> StreamSocket::Adopt(UniqueFd socket) {
  return std::unique_ptr<StreamSocket>(new StreamSocket(std::move(socket)));
}

absl::StatusOr<std::unique_ptr<StreamSocket>> StreamSocket::AdoptTls(UniqueFd socket,
                                                                     TlsCredentials& credentials,
                                                                     TlsSession::End end) {
  std::unique_ptr<StreamSocket> stream = Adopt(std::move(socket));
  ASSIGN_OR_RETURN(stream->tls_, TlsSession::Create(credentials, stream->fd(), end));
  return stream;
}

absl::Status StreamSocket::Explain(const absl::Status& status) const {
  // Abort shuts the socket down, which looks as if the peer had gone.
  return aborted_ ? absl::AbortedError("the connection was aborted") : status;
}

absl::StatusOr<Progress> StreamSocket::TryRead(absl::Span<std::byte> data) {
  if (aborted_ || data.empty()) return OkOr(Explain(absl::OkStatus()));
  absl::StatusOr<Progress> progress =
      tls_ != nullptr ? tls_->Read(data)
                      : OutcomeOf(recv(fd(), data.data(), data.size(), MSG_DONTWAIT), POLLIN);
  if (!progress.ok()) return Explain(progress.status());
  if (progress->bytes == 0 && progress->events == 0) {
    return Explain(absl::UnavailableError("the other end has closed the connection"));
  }
  return progress;
}

absl::StatusOr<Progress> StreamSocket::TryWrite(absl::Span<const std::byte> data) {
  if (aborted_ || data.empty()) return OkOr(Explain(absl::OkStatus()));
  absl::StatusOr<Progress> progress =
      tls_ != nullptr
          ? tls_->Write(data)
          : OutcomeOf(send(fd(), data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL), POLLOUT);
  if (!progress.ok()) return Explain(progress.status());
  return progress;
}

absl::Status StreamSocket::Await(short events, short usual, absl::Time deadline, int interrupt_fd) {
  const absl::Time limit =
      events == usual ? deadline : std::min(deadline, MonotonicClock()->Now() + kLookAgain);
  pollfd fds[] = {{fd(), events, 0}, {abort_event_.get(), POLLIN, 0}, {interrupt_fd, POLLIN, 0}};
  ASSIGN_OR_RETURN(const bool ready, PollUntil(absl::MakeSpan(fds), limit));
  RETURN_IF_ERROR(Explain(absl::OkStatus()));
  if (fds[2].revents != 0) return absl::CancelledError("interrupted");
  if (ready || MonotonicClock()->Now() < deadline) return absl::OkStatus();
  return absl::DeadlineExceededError("the other end is not there in time");
}

absl::Status StreamSocket::Read(absl::Span<std::byte> data, absl::Time deadline) {
  while (!data.empty()) {
    ASSIGN_OR_RETURN(const Progress progress, TryRead(data));
    data.remove_prefix(progress.bytes);
    if (progress.bytes == 0) RETURN_IF_ERROR(Await(progress.events, POLLIN, deadline));
  }
  return absl::OkStatus();
}

absl::Status StreamSocket::Write(absl::Span<const std::byte> data, absl::Time deadline) {
  while (!data.empty()) {
    ASSIGN_OR_RETURN(const Progress progress, TryWrite(data));
    data.remove_prefix(progress.bytes);
    if (progress.bytes == 0) RETURN_IF_ERROR(Await(progress.events, POLLOUT, deadline));
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> StreamSocket::ReadSome(absl::Span<std::byte> data) {
  ASSIGN_OR_RETURN(const Progress progress, TryRead(data));
  return progress.bytes;
}

absl::StatusOr<size_t> StreamSocket::WriteSome(absl::Span<const std::byte> data) {
  ASSIGN_OR_RETURN(const Progress progress, TryWrite(data));
  return progress.bytes;
}

absl::Status StreamSocket::Handshake(absl::Time deadline, int interrupt_fd) {
  if (tls_ == nullptr) return Explain(absl::OkStatus());
  while (true) {
    const absl::StatusOr<Progress> progress = tls_->Handshake();
    if (!progress.ok()) return Explain(progress.status());
    if (progress->bytes > 0) return absl::OkStatus();
    RETURN_IF_ERROR(Await(progress->events, progress->events, deadline, interrupt_fd));
  }
}

void StreamSocket::LimitSilence(absl::Duration limit) { LimitTcpSilence(fd(), limit); }

void StreamSocket::Abort() {
  // Set first: whoever is woken by the rest is to see why.
  aborted_ = true;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(abort_event_.get(), &one, sizeof(one));
  shutdown(fd(), SHUT_RDWR);
}

absl::StatusOr<StreamListener> StreamListener::Create(const HostPort& address,
                                                      std::shared_ptr<TlsCredentials> credentials) {
  ASSIGN_OR_RETURN(const ListenSocket socket, Listen(address));
  return StreamListener(UniqueFd(socket.fd), socket.port, std::move(credentials));
}

absl::StatusOr<std::unique_ptr<StreamSocket>> StreamListener::Accept() {
  UniqueFd socket(accept4(fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (socket.get() < 0) {
    return absl::UnavailableError(absl::StrCat("cannot accept a connection: ", ErrnoText(errno)));
  }
  if (credentials_ == nullptr) return StreamSocket::Adopt(std::move(socket));
  return StreamSocket::AdoptTls(std::move(socket), *credentials_, TlsSession::End::kServer);
}

}  // namespace phalanx
