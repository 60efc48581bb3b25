// How ranks on any hosts come to a connection between each two of them.
//
// Rank 0 listens and knows a secret, the nonce. Each other rank listens too, connects to rank 0 and
// says hello: the nonce, its number and its port. When all have come, rank 0 tells them where the
// others are: the address that it sees a rank's connection come from, and that rank's port. (For a
// rank on rank 0's own host that may be a loopback address, which would lead others astray: there
// the host is left empty, and others take the one by which they reached rank 0.) Then each rank
// connects to those below it. Whoever connects says hello first; whoever does not know the nonce,
// or says nothing for some seconds, is turned away with a line in the log, and the others do not
// wait for that.
//
// Without TLS the nonce travels in the clear, and bytes are not protected from whoever can read or
// change them on the way: for networks that belong to the group alone.
#ifndef PHALANX_WORKER_COMM_NET_RENDEZVOUS_H_
#define PHALANX_WORKER_COMM_NET_RENDEZVOUS_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/host_port.h"
#include "worker/comm/net_hello.h"
#include "worker/net/stream_socket.h"

namespace phalanx {

// A group's connections, as one rank has them.
struct NetMesh {
  // Names the forming of the group in each message.
  uint64_t group = 0;
  // [world]; null for this rank.
  std::vector<std::unique_ptr<StreamSocket>> streams;
};

class NetRendezvous {
 public:
  struct Options {
    int rank = 0;
    int world = 1;  // At least 2.
    NetNonce nonce = {};
    std::string listen_host = "::";
    // Where rank 0 listens, as this rank reaches it. Not used by rank 0.
    HostPort leader;
    // Null: without TLS.
    std::shared_ptr<TlsCredentials> credentials;
    // Within this time another rank must be reached: it listens before this one learns of it.
    absl::Duration connect_limit = absl::Seconds(5);
    // How long a connection may be silent about who it is.
    absl::Duration stranger_limit = absl::Seconds(5);
  };

  // Begins to listen, on a free port. Errors are those of StreamListener::Create.
  static absl::StatusOr<std::unique_ptr<NetRendezvous>> Create(Options options);

  int port() const { return listener_.port(); }

  // Blocks until this rank is connected to all others, however late they come. To be called once.
  // CANCELLED once `interrupt_fd` is readable; UNAVAILABLE, naming the rank, if one that had come
  // is gone or cannot be reached; INTERNAL for what is not the protocol.
  absl::StatusOr<NetMesh> Form(int interrupt_fd);

 private:
  // A connection that has not said who it is.
  struct Guest {
    std::unique_ptr<StreamSocket> stream;
    absl::Time deadline;
    NetHelloBytes hello = {};
    size_t hello_bytes = 0;  // That have come.
  };

  NetRendezvous(Options options, StreamListener listener);
  // Whether all ranks are connected, and nothing of rank 0's table is on its way any more.
  bool IsComplete() const;
  absl::Status ConnectTo(int rank, const HostPort& address, int interrupt_fd);
  // Blocks until there is something to do. Returns whether somebody waits to be accepted.
  absl::StatusOr<bool> Await(int interrupt_fd);
  void AcceptGuest();
  // Takes in what guests have said: ranks get their seats, strangers are turned away.
  void HearGuests();
  // Whether the hello is complete.
  static absl::StatusOr<bool> Hear(Guest& guest);
  absl::Status Seat(Guest& guest);
  absl::Status SendTable();
  // Takes in what has come of rank 0's table; once all of it has, connects to the ranks below.
  absl::Status ReadTable(int interrupt_fd);

  const Options options_;
  StreamListener listener_;
  std::deque<Guest> guests_;  // The oldest first.
  // Until when not to accept anybody, because the system could not.
  absl::Time accept_after_ = absl::InfinitePast();
  NetMesh mesh_;
  // Rank 0: where the others listen, empty for those that have not come.
  std::vector<HostPort> addresses_;
  // Others: what rank 0 has sent so far.
  std::vector<std::byte> table_;
  size_t table_bytes_ = 0;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_COMM_NET_RENDEZVOUS_H_
