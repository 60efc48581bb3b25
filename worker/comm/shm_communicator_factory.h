// Ranks of one host, which share memory.
#ifndef PHALANX_WORKER_COMM_SHM_COMMUNICATOR_FACTORY_H_
#define PHALANX_WORKER_COMM_SHM_COMMUNICATOR_FACTORY_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/comm/communicator_factory.h"

namespace phalanx {

// The invitation is the descriptor of the memory (CommunicatorSegment), without other bytes.
class ShmCommunicatorFactory final : public CommunicatorFactory {
 public:
  absl::StatusOr<Meeting> Meet(int world, absl::Duration timeout) override;
  absl::StatusOr<std::unique_ptr<Communicator>> Join(const Invitation& invitation, int rank,
                                                     int world, absl::Duration timeout) override;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_COMM_SHM_COMMUNICATOR_FACTORY_H_
