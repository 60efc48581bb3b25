// Where ranks come in while a group forms. Anybody of this user may connect to the group's socket:
// each connection is heard out until it has said who it is, and none is waited for.
#ifndef PHALANX_WORKER_GROUP_RANK_RECEPTION_H_
#define PHALANX_WORKER_GROUP_RANK_RECEPTION_H_

#include <sys/types.h>

#include <cstddef>
#include <list>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "phalanx/worker/v1/rank.pb.h"
#include "worker/group/rank_channel.h"
#include "worker/group/unix_socket.h"

namespace phalanx {

// Thread-compatible. Never blocks. What is turned away (other users, garbage, silence, whoever
// hangs up) is logged and disturbs no other connection.
class RankReception {
 public:
  // A connection that has said Join, which nobody has checked yet.
  struct Arrival {
    std::unique_ptr<RankChannel> channel;
    pid_t pid = 0;
    worker::v1::Join join;
  };

  // A connection has `patience` to say Join.
  RankReception(UnixListener listener, absl::Duration patience);

  // Appends what Receive is to be called for when readable.
  void AppendFds(std::vector<int>* fds) const;
  // When Receive is to be called at the latest, by the monotonic clock.
  absl::Time next_deadline() const;

  // Takes in what has come.
  std::vector<Arrival> Receive();

 private:
  struct Guest {
    std::unique_ptr<RankChannel> channel;
    pid_t pid = 0;
    absl::Time deadline;
  };

  void Accept();
  // Whether `guest` has said Join; an error is why it is to leave.
  absl::StatusOr<bool> Hear(Guest& guest, worker::v1::Join* join) const;

  const UnixListener listener_;
  const absl::Duration patience_;
  // Oldest first.
  std::list<Guest> guests_;
  // Until then the listener is left alone: the system could not accept.
  absl::Time accept_again_ = absl::InfinitePast();
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_RANK_RECEPTION_H_
