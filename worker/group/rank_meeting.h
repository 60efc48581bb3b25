// Where the ranks of a group meet their leader: at a Unix socket on one host, or at a TCP port.
#ifndef PHALANX_WORKER_GROUP_RANK_MEETING_H_
#define PHALANX_WORKER_GROUP_RANK_MEETING_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/host_port.h"
#include "base/unique_fd.h"
#include "phalanx/worker/v1/rank.pb.h"
#include "worker/group/group_secret.h"
#include "worker/group/rank_channel.h"
#include "worker/group/rank_link.h"
#include "worker/net/tls_credentials.h"

namespace phalanx {

// How ranks of several hosts reach their leader.
struct RankTcp {
  // Where the leader listens, or what a rank dials.
  HostPort address;
  // Mutual TLS; null for none, which is for trusted networks only.
  std::shared_ptr<TlsCredentials> credentials = nullptr;
  // Whoever joins must know it.
  std::optional<GroupSecret> secret = std::nullopt;
};

struct RankMeeting {
  // See unix_socket.h; not used with `tcp`.
  std::string socket = {};
  std::optional<RankTcp> tcp = std::nullopt;

  // Null without one.
  const GroupSecret* secret() const {
    return tcp.has_value() && tcp->secret.has_value() ? &*tcp->secret : nullptr;
  }
  // For messages.
  std::string ToString() const { return tcp.has_value() ? tcp->address.ToString() : socket; }
};

class RankListener {
 public:
  struct Visitor {
    std::unique_ptr<RankLink> link;
    pid_t pid = 0;  // 0: of another host, or not known.
  };

  virtual ~RankListener() = default;
  // Readable when a connection waits.
  virtual int fd() const = 0;
  // A connection that waits. To be called when fd() is readable. PERMISSION_DENIED if it was turned
  // away at once, UNAVAILABLE and RESOURCE_EXHAUSTED if the system cannot accept it.
  virtual absl::StatusOr<Visitor> Accept() = 0;
};

// The leader's end. Errors are those of UnixListener::Create and StreamListener::Create.
absl::StatusOr<std::unique_ptr<RankListener>> ListenForRanks(const RankMeeting& meeting);

// The rank's end of a connection: tries until the leader listens there. UNAVAILABLE after
// `timeout`, CANCELLED once `interrupt_fd` is readable (-1: never), PERMISSION_DENIED if it does
// not prove who it is.
absl::StatusOr<std::unique_ptr<RankLink>> DialLeader(const RankMeeting& meeting,
                                                     absl::Duration timeout, int interrupt_fd);

// Says `join` on a new connection and returns the leader's answer, a Welcome. `options.timeout` is
// how long the leader may take for it. FAILED_PRECONDITION if the leader refuses this rank,
// PERMISSION_DENIED if one of the two wants a secret that the other does not have or know; other
// errors are those of Receive.
absl::StatusOr<worker::v1::Welcome> SayJoin(RankChannel& channel, worker::v1::Join join,
                                            const GroupSecret* secret,
                                            const ReceiveOptions& options);

// A rank that the leader has let in.
struct JoinedRank {
  std::unique_ptr<RankChannel> channel;
  worker::v1::Welcome welcome;
  UniqueFd communicator_fd;  // That came with the welcome; none over TCP.
};

// DialLeader and SayJoin, again if the connection breaks before the leader has answered: it may
// have been started anew, or strangers may have pushed this rank out. Errors are those of the two.
absl::StatusOr<JoinedRank> JoinLeader(const RankMeeting& meeting, const worker::v1::Join& join,
                                      absl::Duration timeout, int interrupt_fd);

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_RANK_MEETING_H_
