#include "worker/group/rank_channel.h"

#include <endian.h>

#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status.h"
#include "google/protobuf/message_lite.h"
#include "worker/group/poll_readable.h"

namespace phalanx {
namespace {

constexpr size_t kLengthBytes = sizeof(uint32_t);

}  // namespace

RankChannel::RankChannel(std::unique_ptr<RankLink> link, size_t max_receive_bytes)
    : link_(std::move(link)), max_receive_bytes_(max_receive_bytes) {}

RankChannel::RankChannel(UniqueFd socket, size_t max_receive_bytes)
    : RankChannel(MakeUnixLink(std::move(socket)), max_receive_bytes) {}

absl::Status RankChannel::Send(const google::protobuf::MessageLite& message, int fd) {
  send_buffer_.resize(kLengthBytes);
  message.AppendToString(&send_buffer_);
  const size_t length = send_buffer_.size() - kLengthBytes;
  if (length > kMaxRankMessageBytes) {
    return absl::InternalError(absl::StrCat("a message of ", length, " bytes for a rank"));
  }
  const uint32_t prefix = htole32(static_cast<uint32_t>(length));
  std::memcpy(send_buffer_.data(), &prefix, kLengthBytes);
  return link_->Send(send_buffer_, fd);
}

absl::Status RankChannel::Receive(google::protobuf::MessageLite* message,
                                  const ReceiveOptions& options) {
  const absl::Time deadline = MonotonicClock()->Now() + options.timeout;
  while (true) {
    // What is here already need not be waited for, but an interrupt comes first.
    const bool here = has_buffered();
    const absl::StatusOr<size_t> ready =
        PollReadable({options.interrupt_fd, options.stop_fd, here ? -1 : fd()},
                     here ? absl::InfinitePast() : deadline);
    if (absl::IsDeadlineExceeded(ready.status()) && !here) {
      return absl::DeadlineExceededError(
          absl::StrCat("no whole message within ", absl::FormatDuration(options.timeout)));
    }
    if (!here) RETURN_IF_ERROR(ready.status());
    if (ready.ok() && *ready < 2)
      return absl::CancelledError("interrupted while waiting for a message");
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
  length = le32toh(length);
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
    ASSIGN_OR_RETURN(const size_t bytes,
                     link_->ReceiveSome(absl::MakeSpan(receive_buffer_).subspan(received_), fd));
    if (bytes == 0) return false;
    received_ += bytes;
  }
  return true;
}

}  // namespace phalanx
