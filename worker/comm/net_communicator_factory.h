// Ranks with CPUs on any hosts, which meet by TCP.
#ifndef PHALANX_WORKER_COMM_NET_COMMUNICATOR_FACTORY_H_
#define PHALANX_WORKER_COMM_NET_COMMUNICATOR_FACTORY_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/comm/communicator_factory.h"
#include "worker/comm/net_communicator.h"
#include "worker/net/tls_credentials.h"

namespace phalanx {

// The invitation is a port of rank 0 and a secret (NetInvitation), without a descriptor. Meet and
// Join do not wait for other ranks: they come together on threads of the communicators, and the
// first collective waits for that.
class NetCommunicatorFactory final : public CommunicatorFactory {
 public:
  struct Options {
    // The address at which this rank takes connections of other ranks, on a free port each time;
    // as base/listen_socket.h has it.
    std::string listen_host = "::";
    // Where this rank reaches the host of rank 0: what it dialled to join the group. Not used by
    // rank 0.
    std::string leader_host = {};
    // What ranks prove to each other. Null: connections without TLS, for networks that belong to
    // the group alone.
    std::shared_ptr<TlsCredentials> credentials = nullptr;
    absl::Duration spin = NetCommunicator::Options().spin;
  };

  explicit NetCommunicatorFactory(Options options) : options_(std::move(options)) {}

  // UNAVAILABLE if this rank cannot listen.
  absl::StatusOr<Meeting> Meet(int world, absl::Duration timeout) override;
  absl::StatusOr<std::unique_ptr<Communicator>> Join(const Invitation& invitation, int rank,
                                                     int world, absl::Duration timeout) override;

 private:
  absl::StatusOr<std::unique_ptr<Communicator>> Begin(std::unique_ptr<NetRendezvous> rendezvous,
                                                      int rank, int world,
                                                      absl::Duration timeout) const;

  const Options options_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_COMM_NET_COMMUNICATOR_FACTORY_H_
