#include "worker/group/rank_link.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/errno_text.h"
#include "base/status.h"
#include "worker/group/unix_socket.h"

namespace phalanx {
namespace {

// How long a peer may not read what is sent to it.
constexpr absl::Duration kSendPatience = absl::Seconds(10);

absl::Status PeerGone(const char* what) {
  return absl::UnavailableError(absl::StrCat(what, ": ", ErrnoText(errno)));
}

// Room for a descriptor beside a message. A union, because the kernel wants it aligned as a
// cmsghdr.
union FdMessage {
  cmsghdr align;
  char bytes[CMSG_SPACE(sizeof(int))];
};

void AttachFd(int fd, FdMessage* control, msghdr* header) {
  header->msg_control = control->bytes;
  header->msg_controllen = sizeof(control->bytes);
  cmsghdr* const message = CMSG_FIRSTHDR(header);
  message->cmsg_level = SOL_SOCKET;
  message->cmsg_type = SCM_RIGHTS;
  message->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(message), &fd, sizeof(int));
}

// The descriptor that came with a message, if any.
UniqueFd DetachFd(msghdr* header) {
  const cmsghdr* const message = CMSG_FIRSTHDR(header);
  if (message == nullptr || message->cmsg_type != SCM_RIGHTS) return UniqueFd();
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(message), sizeof(int));
  return UniqueFd(fd);
}

class UnixLink final : public RankLink {
 public:
  explicit UnixLink(UniqueFd socket) : socket_(std::move(socket)) {
    // Send waits for room in the socket, but not for ever if the other end does not read.
    const timeval patience = absl::ToTimeval(kSendPatience);
    setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  }

  absl::Status Send(absl::Span<const char> data, int fd) override {
    // A descriptor travels with the first bytes, once.
    for (int attached = fd; !data.empty(); attached = -1) {
      ASSIGN_OR_RETURN(const size_t sent, SendSome(data, attached));
      data.remove_prefix(sent);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<size_t> ReceiveSome(absl::Span<char> data, UniqueFd* fd) override {
    iovec buffer{data.data(), data.size()};
    msghdr header{};
    header.msg_iov = &buffer;
    header.msg_iovlen = 1;
    FdMessage control{};
    header.msg_control = control.bytes;
    header.msg_controllen = sizeof(control.bytes);
    // A descriptor that comes along must not be inherited by children. The socket itself blocks,
    // since Send wants that.
    ssize_t bytes = -1;
    do {
      bytes = recvmsg(socket_.get(), &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    } while (bytes < 0 && errno == EINTR);
    if (bytes < 0 && errno == EAGAIN) return 0;
    if (bytes < 0) return PeerGone("the connection broke");
    if (bytes == 0) return absl::UnavailableError("the other end has closed the connection");
    UniqueFd attached = DetachFd(&header);
    if (attached.get() >= 0 && fd != nullptr) *fd = std::move(attached);
    return static_cast<size_t>(bytes);
  }

  bool has_buffered() const override { return false; }
  bool ready() const override { return true; }
  void Break() override { shutdown(socket_.get(), SHUT_RDWR); }
  int fd() const override { return socket_.get(); }
  std::string peer() const override { return absl::StrCat("process ", PeerPid(socket_)); }

 private:
  absl::StatusOr<size_t> SendSome(absl::Span<const char> data, int fd) {
    iovec buffer{const_cast<char*>(data.data()), data.size()};
    msghdr header{};
    header.msg_iov = &buffer;
    header.msg_iovlen = 1;
    FdMessage control{};
    if (fd >= 0) AttachFd(fd, &control, &header);
    ssize_t bytes = -1;
    do {
      // Without MSG_NOSIGNAL, a peer that is gone would end this process by SIGPIPE.
      bytes = sendmsg(socket_.get(), &header, MSG_NOSIGNAL);
    } while (bytes < 0 && errno == EINTR);
    if (bytes <= 0) return PeerGone("the other end does not take messages");
    return static_cast<size_t>(bytes);
  }

  const UniqueFd socket_;
};

class StreamLink final : public RankLink {
 public:
  explicit StreamLink(std::unique_ptr<StreamSocket> stream) : stream_(std::move(stream)) {
    // Both ends have a thread that does nothing but read. So a rank that is cut off notices, whose
    // pulses nobody acknowledges.
    stream_->LimitSilence(StreamSocket::kSilenceLimit);
  }

  absl::Status Send(absl::Span<const char> data, int fd) override {
    if (fd >= 0) {
      return absl::FailedPreconditionError(
          "this transport of the ranks shares memory, which works on one host only");
    }
    return Lost(stream_->Write({reinterpret_cast<const std::byte*>(data.data()), data.size()},
                               MonotonicClock()->Now() + kSendPatience));
  }

  absl::StatusOr<size_t> ReceiveSome(absl::Span<char> data, UniqueFd* /*fd*/) override {
    absl::StatusOr<size_t> bytes =
        stream_->ReadSome({reinterpret_cast<std::byte*>(data.data()), data.size()});
    if (!bytes.ok()) return Lost(bytes.status());
    return bytes;
  }

  bool has_buffered() const override { return stream_->has_buffered(); }
  bool ready() const override { return stream_->ready(); }
  void Break() override { stream_->Abort(); }
  int fd() const override { return stream_->fd(); }
  std::string peer() const override { return stream_->peer(); }

 private:
  // Whoever breaks a connection and whoever waits at it are strangers to each other, so to both it
  // is a connection that is lost.
  static absl::Status Lost(const absl::Status& status) {
    if (absl::IsAborted(status)) return absl::UnavailableError("the connection was broken off");
    if (absl::IsDeadlineExceeded(status)) {
      return absl::UnavailableError("the other end does not take messages");
    }
    return status;
  }

  const std::unique_ptr<StreamSocket> stream_;
};

}  // namespace

std::unique_ptr<RankLink> MakeUnixLink(UniqueFd socket) {
  return std::make_unique<UnixLink>(std::move(socket));
}

std::unique_ptr<RankLink> MakeStreamLink(std::unique_ptr<StreamSocket> stream) {
  return std::make_unique<StreamLink>(std::move(stream));
}

}  // namespace phalanx
