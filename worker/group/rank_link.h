// What carries the bytes between the leader and one rank: a Unix socket on one host, TCP between
// hosts.
#ifndef PHALANX_WORKER_GROUP_RANK_LINK_H_
#define PHALANX_WORKER_GROUP_RANK_LINK_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/unique_fd.h"
#include "worker/net/stream_socket.h"

namespace phalanx {

// One thread may send while another receives; no more than one of each.
class RankLink {
 public:
  virtual ~RankLink() = default;

  // Sends all of `data`, and `fd` with its first byte unless that is -1; `fd` stays the caller's.
  // UNAVAILABLE if the peer is gone or has not read for ten seconds, FAILED_PRECONDITION for a
  // descriptor if the link carries none.
  virtual absl::Status Send(absl::Span<const char> data, int fd) = 0;

  // What has come already, at most data.size() bytes; 0 if nothing has. Never blocks. `fd`, unless
  // null, gets the descriptor that came along, if any. UNAVAILABLE if the peer is gone,
  // PERMISSION_DENIED if it does not prove who it is, DATA_LOSS if TLS fails.
  virtual absl::StatusOr<size_t> ReceiveSome(absl::Span<char> data, UniqueFd* fd) = 0;

  // Whether ReceiveSome has bytes that fd() does not show as readable.
  virtual bool has_buffered() const = 0;
  // False while the ends still prove to each other who they are: ReceiveSome carries that on, and a
  // Send would wait for it.
  virtual bool ready() const = 0;
  // Ends the connection for both ends. A Send that blocks fails. Any thread.
  virtual void Break() = 0;
  // Readable when something has come.
  virtual int fd() const = 0;
  // Who is at the other end, for logs.
  virtual std::string peer() const = 0;
};

// `socket` is connected. Carries descriptors.
std::unique_ptr<RankLink> MakeUnixLink(UniqueFd socket);
// Carries none.
std::unique_ptr<RankLink> MakeStreamLink(std::unique_ptr<StreamSocket> stream);

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_RANK_LINK_H_
