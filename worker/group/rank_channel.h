// Messages between the leader and one rank: protobufs on a Unix stream socket, each behind its
// length as four bytes in host order: both ends are on one host. A descriptor can travel along.
#ifndef PHALANX_WORKER_GROUP_RANK_CHANNEL_H_
#define PHALANX_WORKER_GROUP_RANK_CHANNEL_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace google::protobuf {
class MessageLite;
}

namespace phalanx {

// Longer messages are refused: a step's plan is far below it.
inline constexpr size_t kMaxRankMessageBytes = size_t{64} << 20;

// Owns a descriptor; -1 is none.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept;
  ~UniqueFd();

  int get() const { return fd_; }
  int Release();

 private:
  int fd_ = -1;
};

// One thread may send while another receives; no more than one of each.
class RankChannel {
 public:
  explicit RankChannel(UniqueFd socket);

  // Sends `message`, and `fd` with it unless that is -1; `fd` stays the caller's. UNAVAILABLE if
  // the peer is gone or has not read for ten seconds.
  absl::Status Send(const google::protobuf::MessageLite& message, int fd = -1);

  // Blocks for the next message. `fd`, unless null, receives the descriptor that came with it, if
  // any. UNAVAILABLE if the peer has closed, DEADLINE_EXCEEDED after `timeout` without a message's
  // beginning, DATA_LOSS for bytes that are no message.
  absl::Status Receive(google::protobuf::MessageLite* message,
                       absl::Duration timeout = absl::InfiniteDuration(), UniqueFd* fd = nullptr);

  int fd() const { return socket_.get(); }

 private:
  absl::Status ReadExactly(absl::Span<char> to, UniqueFd* fd);

  UniqueFd socket_;
  std::string send_buffer_;
  std::string receive_buffer_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_RANK_CHANNEL_H_
