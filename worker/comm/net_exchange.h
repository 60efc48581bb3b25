// Sends and receives on the streams to all peers at once, so that no order of long messages can
// make ranks wait for each other for ever.
#ifndef PHALANX_WORKER_COMM_NET_EXCHANGE_H_
#define PHALANX_WORKER_COMM_NET_EXCHANGE_H_

#include <poll.h>

#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "worker/comm/net_frame.h"
#include "worker/net/stream_socket.h"

namespace phalanx {

// For one thread. Does not allocate after construction.
class NetExchange {
 public:
  // `streams` [world] are lent; null for this rank. While nothing comes, Run looks again and again
  // for `spin` before it sleeps.
  NetExchange(const std::vector<StreamSocket*>& streams, absl::Duration spin);
  NetExchange(const NetExchange&) = delete;
  NetExchange& operator=(const NetExchange&) = delete;

  // What the next Run does with a peer, in this order; all memory is lent until it returns. Nothing
  // if it is not called. What is received begins with a frame, which is checked as soon as it is
  // there: `frame` has its size or more, and `body` has what follows.
  void Send(int peer, absl::Span<const std::byte> frame, absl::Span<const std::byte> body = {});
  void Receive(int peer, absl::Span<std::byte> frame, absl::Span<std::byte> body = {});

  // Blocks until all of that is done. DEADLINE_EXCEEDED, naming the rank, at `deadline` (of
  // MonotonicClock()); INTERNAL if the frame of a peer is not `expected`, or for bytes that TLS
  // does not believe; ABORTED if a stream was aborted; UNAVAILABLE, naming the rank, if a peer is
  // gone. The streams cannot be used after an error.
  absl::Status Run(const NetFrame& expected, absl::Time deadline);

  // How long Run has waited so far without a byte to move.
  absl::Duration wait_time() const { return wait_time_; }

 private:
  struct Peer {
    StreamSocket* stream = nullptr;
    absl::Span<const std::byte> out[2];
    absl::Span<std::byte> in[2];
    const std::byte* frame = nullptr;  // Where the frame comes to lie; null once it was checked.

    bool sends() const { return !out[0].empty() || !out[1].empty(); }
    bool receives() const { return !in[0].empty() || !in[1].empty(); }
  };

  // Moves what can be moved without waiting. Returns whether that was anything.
  absl::StatusOr<bool> Advance(const NetFrame& expected, int rank);
  absl::StatusOr<bool> AdvanceAll(const NetFrame& expected);
  bool Done() const;
  // Sleeps until there is something to move.
  absl::Status Sleep(absl::Time deadline);
  absl::Status Late() const;

  const absl::Duration spin_;
  std::vector<Peer> peers_;
  std::vector<pollfd> polled_;
  absl::Duration wait_time_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_COMM_NET_EXCHANGE_H_
