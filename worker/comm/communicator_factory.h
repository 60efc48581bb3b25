// How the ranks of a group come to their communicators: the transport, which a worker program
// chooses and the group does not know.
#ifndef PHALANX_WORKER_COMM_COMMUNICATOR_FACTORY_H_
#define PHALANX_WORKER_COMM_COMMUNICATOR_FACTORY_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/comm/communicator.h"

namespace phalanx {

// Thread-safe.
class CommunicatorFactory {
 public:
  // What a rank needs to join the others. The leader sends it along with its welcome.
  struct Invitation {
    // A descriptor, for transports that share something of the system's; -1 for none.
    int fd = -1;
    // Bytes by which the transport finds the other ranks; empty for none. They mean something to
    // the processes of this group only, and a group that is formed anew has others.
    std::string rendezvous = {};
  };
  // What the leader makes when it forms a group.
  struct Meeting {
    std::unique_ptr<Communicator> communicator;  // Rank 0's.
    // For each of the other ranks. The communicator owns the descriptor.
    Invitation invitation;
  };

  virtual ~CommunicatorFactory() = default;

  // To be called by rank 0, once for each group: a group that is lost is followed by one with a
  // meeting of its own. `timeout` is how long a collective waits for a rank. RESOURCE_EXHAUSTED if
  // there is no memory; other errors of the transport as it tells them.
  virtual absl::StatusOr<Meeting> Meet(int world, absl::Duration timeout) = 0;

  // To be called by the other ranks with the invitation that they were sent. Its descriptor is
  // theirs and is closed in any case, or kept by the communicator. INVALID_ARGUMENT if it is no
  // invitation to such a group; other errors as those of Meet.
  virtual absl::StatusOr<std::unique_ptr<Communicator>> Join(const Invitation& invitation, int rank,
                                                             int world, absl::Duration timeout) = 0;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_COMM_COMMUNICATOR_FACTORY_H_
