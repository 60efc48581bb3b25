// How the ranks of a group come to their communicators: the transport, which a worker program
// chooses and the group does not know.
#ifndef PHALANX_WORKER_COMM_COMMUNICATOR_FACTORY_H_
#define PHALANX_WORKER_COMM_COMMUNICATOR_FACTORY_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/comm/communicator.h"

namespace phalanx {

// Thread-safe.
class CommunicatorFactory {
 public:
  // What the leader makes when it forms a group.
  struct Meeting {
    std::unique_ptr<Communicator> communicator;  // Rank 0's.
    // The descriptor that each rank needs for Join; the leader sends it along with its welcome. It
    // is owned by the communicator.
    int fd = -1;
  };

  virtual ~CommunicatorFactory() = default;

  // To be called by rank 0. `timeout` is how long a collective waits for a rank. RESOURCE_EXHAUSTED
  // if there is no memory.
  virtual absl::StatusOr<Meeting> Meet(int world, absl::Duration timeout) = 0;

  // To be called by the other ranks with the descriptor that they were sent, which is theirs and is
  // closed in any case. INVALID_ARGUMENT if it does not belong to such a group.
  virtual absl::StatusOr<std::unique_ptr<Communicator>> Join(int fd, int rank, int world,
                                                             absl::Duration timeout) = 0;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_COMM_COMMUNICATOR_FACTORY_H_
