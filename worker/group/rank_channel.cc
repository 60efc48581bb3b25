#include "worker/group/rank_channel.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/errno_text.h"
#include "base/status.h"
#include "google/protobuf/message_lite.h"
#include "worker/group/poll_readable.h"

namespace phalanx {
namespace {

constexpr size_t kLengthBytes = sizeof(uint32_t);

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

}  // namespace

RankChannel::RankChannel(UniqueFd socket, size_t max_receive_bytes)
    : socket_(std::move(socket)), max_receive_bytes_(max_receive_bytes) {
  // Send waits for room in the socket, but not for ever if the other end does not read.
  const timeval patience{.tv_sec = 10, .tv_usec = 0};
  setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
}

absl::Status RankChannel::Send(const google::protobuf::MessageLite& message, int fd) {
  send_buffer_.resize(kLengthBytes);
  message.AppendToString(&send_buffer_);
  const size_t length = send_buffer_.size() - kLengthBytes;
  if (length > kMaxRankMessageBytes) {
    return absl::InternalError(absl::StrCat("a message of ", length, " bytes for a rank"));
  }
  const auto prefix = static_cast<uint32_t>(length);
  std::memcpy(send_buffer_.data(), &prefix, kLengthBytes);
  size_t sent = 0;
  while (sent < send_buffer_.size()) {
    iovec data{send_buffer_.data() + sent, send_buffer_.size() - sent};
    msghdr header{};
    header.msg_iov = &data;
    header.msg_iovlen = 1;
    FdMessage control{};
    // A descriptor travels with the first bytes, once.
    if (sent == 0 && fd >= 0) AttachFd(fd, &control, &header);
    // Without MSG_NOSIGNAL, a peer that is gone would end this process by SIGPIPE.
    const ssize_t bytes = sendmsg(socket_.get(), &header, MSG_NOSIGNAL);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) return PeerGone("the other end does not take messages");
    sent += static_cast<size_t>(bytes);
  }
  return absl::OkStatus();
}

void RankChannel::Break() { shutdown(socket_.get(), SHUT_RDWR); }

absl::Status RankChannel::Receive(google::protobuf::MessageLite* message,
                                  const ReceiveOptions& options) {
  const absl::Time deadline = MonotonicClock()->Now() + options.timeout;
  while (true) {
    const absl::StatusOr<size_t> ready =
        PollReadable({options.interrupt_fd, options.stop_fd, socket_.get()}, deadline);
    if (absl::IsDeadlineExceeded(ready.status())) {
      return absl::DeadlineExceededError(
          absl::StrCat("no whole message within ", absl::FormatDuration(options.timeout)));
    }
    RETURN_IF_ERROR(ready.status());
    if (*ready < 2) return absl::CancelledError("interrupted while waiting for a message");
    ASSIGN_OR_RETURN(const bool whole, ReceiveArrived(message, options.fd));
    if (whole) return absl::OkStatus();
  }
}

absl::StatusOr<bool> RankChannel::ReceiveArrived(google::protobuf::MessageLite* message,
                                                 UniqueFd* fd) {
  // A message may come in pieces: received_ keeps how much there is until the next call. First the
  // buffer is as large as the length, then as large as the whole message.
  if (received_ < kLengthBytes) {
    receive_buffer_.resize(kLengthBytes);
    ASSIGN_OR_RETURN(const bool length_came, FillBuffer(fd));
    if (!length_came) return false;
  }
  uint32_t length = 0;
  std::memcpy(&length, receive_buffer_.data(), kLengthBytes);
  if (length > max_receive_bytes_) {
    return absl::DataLossError(absl::StrCat("a message that claims ", length, " bytes"));
  }
  receive_buffer_.resize(kLengthBytes + length);
  ASSIGN_OR_RETURN(const bool whole, FillBuffer(fd));
  if (!whole) return false;
  received_ = 0;
  if (!message->ParseFromArray(receive_buffer_.data() + kLengthBytes, static_cast<int>(length))) {
    return absl::DataLossError(absl::StrCat("bytes that are no ", message->GetTypeName()));
  }
  return true;
}

absl::StatusOr<bool> RankChannel::FillBuffer(UniqueFd* fd) {
  while (received_ < receive_buffer_.size()) {
    iovec data{receive_buffer_.data() + received_, receive_buffer_.size() - received_};
    msghdr header{};
    header.msg_iov = &data;
    header.msg_iovlen = 1;
    FdMessage control{};
    header.msg_control = control.bytes;
    header.msg_controllen = sizeof(control.bytes);
    // A descriptor that comes along must not be inherited by children. The socket itself blocks,
    // since Send wants that.
    const ssize_t bytes = recvmsg(socket_.get(), &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0 && errno == EAGAIN) return false;
    if (bytes < 0) return PeerGone("the connection broke");
    if (bytes == 0) return absl::UnavailableError("the other end has closed the connection");
    UniqueFd attached = DetachFd(&header);
    if (attached.get() >= 0 && fd != nullptr) *fd = std::move(attached);
    received_ += static_cast<size_t>(bytes);
  }
  return true;
}

}  // namespace phalanx
