#include "worker/comm/shm_communicator_factory.h"

#include <utility>

#include "base/status.h"
#include "worker/comm/communicator_segment.h"
#include "worker/comm/shm_communicator.h"

namespace phalanx {

absl::StatusOr<CommunicatorFactory::Meeting> ShmCommunicatorFactory::Meet(int world,
                                                                          absl::Duration timeout) {
  ASSIGN_OR_RETURN(std::shared_ptr<CommunicatorSegment> segment,
                   CommunicatorSegment::Create(world));
  Meeting meeting;
  meeting.invitation.fd = segment->fd();
  meeting.communicator = std::make_unique<ShmCommunicator>(
      std::move(segment), 0, ShmCommunicator::Options{.timeout = timeout});
  return meeting;
}

absl::StatusOr<std::unique_ptr<Communicator>> ShmCommunicatorFactory::Join(
    const Invitation& invitation, int rank, int world, absl::Duration timeout) {
  // Map owns the descriptor from here on.
  ASSIGN_OR_RETURN(std::shared_ptr<CommunicatorSegment> segment,
                   CommunicatorSegment::Map(invitation.fd, world));
  return std::make_unique<ShmCommunicator>(std::move(segment), rank,
                                           ShmCommunicator::Options{.timeout = timeout});
}

}  // namespace phalanx
