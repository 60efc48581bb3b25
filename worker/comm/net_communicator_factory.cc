#include "worker/comm/net_communicator_factory.h"

#include <unistd.h>

#include <utility>

#include "base/status.h"
#include "worker/comm/net_hello.h"
#include "worker/comm/net_rendezvous.h"

namespace phalanx {

absl::StatusOr<std::unique_ptr<Communicator>> NetCommunicatorFactory::Begin(
    std::unique_ptr<NetRendezvous> rendezvous, int rank, int world, absl::Duration timeout) const {
  // Shared, because a std::function can be copied. The listener is closed with the last copy.
  std::shared_ptr<NetRendezvous> shared = std::move(rendezvous);
  ASSIGN_OR_RETURN(
      std::unique_ptr<NetCommunicator> communicator,
      NetCommunicator::Create(rank, world,
                              [shared](int interrupt_fd) { return shared->Form(interrupt_fd); },
                              {.timeout = timeout, .spin = options_.spin}));
  return communicator;
}

absl::StatusOr<CommunicatorFactory::Meeting> NetCommunicatorFactory::Meet(int world,
                                                                          absl::Duration timeout) {
  Meeting meeting;
  std::unique_ptr<NetRendezvous> rendezvous;
  if (world > 1) {
    ASSIGN_OR_RETURN(const NetNonce nonce, MakeNetNonce());
    ASSIGN_OR_RETURN(rendezvous, NetRendezvous::Create({.rank = 0,
                                                        .world = world,
                                                        .nonce = nonce,
                                                        .listen_host = options_.listen_host,
                                                        .leader = {},
                                                        .credentials = options_.credentials}));
    meeting.invitation.rendezvous =
        EncodeNetInvitation({.nonce = nonce, .port = rendezvous->port()});
  }
  ASSIGN_OR_RETURN(meeting.communicator, Begin(std::move(rendezvous), 0, world, timeout));
  return meeting;
}

absl::StatusOr<std::unique_ptr<Communicator>> NetCommunicatorFactory::Join(
    const Invitation& invitation, int rank, int world, absl::Duration timeout) {
  // A leader with another transport may have sent one.
  if (invitation.fd >= 0) close(invitation.fd);
  ASSIGN_OR_RETURN(const NetInvitation decoded, DecodeNetInvitation(invitation.rendezvous));
  ASSIGN_OR_RETURN(
      std::unique_ptr<NetRendezvous> rendezvous,
      NetRendezvous::Create({.rank = rank,
                             .world = world,
                             .nonce = decoded.nonce,
                             .listen_host = options_.listen_host,
                             .leader = {.host = options_.leader_host, .port = decoded.port},
                             .credentials = options_.credentials}));
  return Begin(std::move(rendezvous), rank, world, timeout);
}

}  // namespace phalanx
