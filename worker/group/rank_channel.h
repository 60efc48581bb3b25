// Messages between the leader and one rank: protobufs on a link (rank_link.h). Each follows its
// length in four bytes, the lowest first. On a link that carries them, a descriptor can travel
// along.
#ifndef PHALANX_WORKER_GROUP_RANK_CHANNEL_H_
#define PHALANX_WORKER_GROUP_RANK_CHANNEL_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "worker/group/rank_link.h"

namespace google::protobuf {
class MessageLite;
}

namespace phalanx {

// Longer messages are refused. The plan of a step, the longest message there is, stays far below.
inline constexpr size_t kMaxRankMessageBytes = size_t{64} << 20;
// Bound on messages that a rank sends: they are all short.
inline constexpr size_t kMaxMessageBytesFromRank = size_t{64} << 10;

struct ReceiveOptions {
  // Limit on the time until the whole message is there: a peer that sends half of one cannot hold
  // up the receiver.
  absl::Duration timeout = absl::InfiniteDuration();
  // A descriptor that becomes readable when Receive is to give up; -1 for none.
  int interrupt_fd = -1;
  // A second one.
  int stop_fd = -1;
  // Gets the descriptor that came with the message, if any. If null, such a descriptor is closed.
  UniqueFd* fd = nullptr;
};

// One thread may send while another receives; no more than one of each.
class RankChannel {
 public:
  // Messages that claim more than `max_receive_bytes` are refused.
  explicit RankChannel(std::unique_ptr<RankLink> link,
                       size_t max_receive_bytes = kMaxRankMessageBytes);
  // On a Unix socket, which is connected.
  explicit RankChannel(UniqueFd socket, size_t max_receive_bytes = kMaxRankMessageBytes);

  // Sends `message`, and `fd` with it unless that is -1; `fd` stays the caller's. Errors are those
  // of RankLink::Send.
  absl::Status Send(const google::protobuf::MessageLite& message, int fd = -1);

  // Blocks for the next message. UNAVAILABLE if the peer has closed, DEADLINE_EXCEEDED if the
  // message has not come whole within the timeout, CANCELLED if interrupted, DATA_LOSS for bytes
  // that are not a message. After an error the channel cannot be used any more.
  absl::Status Receive(google::protobuf::MessageLite* message, const ReceiveOptions& options = {});

  // Like Receive, but takes in only what has come already, and returns false if that is not a whole
  // message yet. To be called again once fd() is readable.
  absl::StatusOr<bool> ReceiveArrived(google::protobuf::MessageLite* message,
                                      UniqueFd* fd = nullptr);

  // Ends the connection for both ends. A Send that blocks fails. Any thread.
  void Break() { link_->Break(); }

  int fd() const { return link_->fd(); }
  // Whether a message, or some of one, is here that fd() does not show as readable. Whoever waits
  // for fd() must first have received until this is false.
  bool has_buffered() const { return link_->has_buffered(); }
  // See RankLink.
  bool ready() const { return link_->ready(); }
  std::string peer() const { return link_->peer(); }

 private:
  // Reads until receive_buffer_ is full. Returns false if that much has not come yet.
  absl::StatusOr<bool> FillBuffer(UniqueFd* fd);

  std::unique_ptr<RankLink> link_;
  const size_t max_receive_bytes_;
  std::string send_buffer_;
  // The message that is arriving, after its length. Of this, the first `received_` bytes are there.
  std::string receive_buffer_;
  size_t received_ = 0;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_RANK_CHANNEL_H_
