// Messages between the leader and one rank: protobufs on a Unix stream socket, each behind its
// length as four bytes in host order: both ends are on one host. A descriptor can travel along.
#ifndef PHALANX_WORKER_GROUP_RANK_CHANNEL_H_
#define PHALANX_WORKER_GROUP_RANK_CHANNEL_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace google::protobuf {
class MessageLite;
}

namespace phalanx {

// Longer messages are refused: a step's plan is far below it.
inline constexpr size_t kMaxRankMessageBytes = size_t{64} << 20;
// What a rank sends is short.
inline constexpr size_t kMaxMessageBytesFromRank = size_t{64} << 10;

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

struct ReceiveOptions {
  // For the whole message: a peer that sends half of one cannot hold us up.
  absl::Duration timeout = absl::InfiniteDuration();
  // Readable when Receive is to give up; -1 is none.
  int interrupt_fd = -1;
  // Receives the descriptor that came with the message, if any; null drops it.
  UniqueFd* fd = nullptr;
};

// One thread may send while another receives; no more than one of each.
class RankChannel {
 public:
  // Messages that claim more than `max_receive_bytes` are refused.
  explicit RankChannel(UniqueFd socket, size_t max_receive_bytes = kMaxRankMessageBytes);

  // Sends `message`, and `fd` with it unless that is -1; `fd` stays the caller's. UNAVAILABLE if
  // the peer is gone or has not read for ten seconds.
  absl::Status Send(const google::protobuf::MessageLite& message, int fd = -1);

  // Blocks for the next message. UNAVAILABLE if the peer has closed, DEADLINE_EXCEEDED if the
  // message has not come whole within the timeout, CANCELLED if interrupted, DATA_LOSS for bytes
  // that are no message. After an error the channel is of no more use.
  absl::Status Receive(google::protobuf::MessageLite* message, const ReceiveOptions& options = {});

  // As Receive, but takes in only what has come already: false if that is no whole message yet.
  // Call again once fd() is readable.
  absl::StatusOr<bool> ReceiveArrived(google::protobuf::MessageLite* message,
                                      UniqueFd* fd = nullptr);

  // Ends the connection for both ends, and a Send that blocks. Any thread.
  void Break();

  int fd() const { return socket_.get(); }

 private:
  // Reads until receive_buffer_ is full. False if no more has come.
  absl::StatusOr<bool> FillBuffer(UniqueFd* fd);

  UniqueFd socket_;
  const size_t max_receive_bytes_;
  std::string send_buffer_;
  // The message that is arriving, behind its length; its first `received_` bytes are there.
  std::string receive_buffer_;
  size_t received_ = 0;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_RANK_CHANNEL_H_
