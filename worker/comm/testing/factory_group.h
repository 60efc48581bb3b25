// A group of threads that meet as processes do.
#ifndef PHALANX_WORKER_COMM_TESTING_FACTORY_GROUP_H_
#define PHALANX_WORKER_COMM_TESTING_FACTORY_GROUP_H_

#include <fcntl.h>

#include <memory>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "base/log.h"
#include "worker/comm/communicator_factory.h"

namespace phalanx {

// A communicator for each of `world` ranks: rank 0 meets, the others join. Each gets a copy of the
// invitation's descriptor, as by a socket. CHECK-fails on errors.
inline std::vector<std::unique_ptr<Communicator>> MakeFactoryGroup(CommunicatorFactory& factory,
                                                                   int world,
                                                                   absl::Duration timeout) {
  auto meeting = factory.Meet(world, timeout);
  CHECK_OK(meeting.status());
  std::vector<std::unique_ptr<Communicator>> group;
  group.push_back(std::move(meeting->communicator));
  for (int rank = 1; rank < world; ++rank) {
    CommunicatorFactory::Invitation invitation = meeting->invitation;
    if (invitation.fd >= 0) invitation.fd = fcntl(invitation.fd, F_DUPFD_CLOEXEC, 0);
    auto joined = factory.Join(invitation, rank, world, timeout);
    CHECK_OK(joined.status());
    group.push_back(*std::move(joined));
  }
  return group;
}

}  // namespace phalanx

#endif  // PHALANX_WORKER_COMM_TESTING_FACTORY_GROUP_H_
