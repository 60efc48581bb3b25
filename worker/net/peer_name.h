// Who is at the other end of a socket, in words.
#ifndef PHALANX_WORKER_NET_PEER_NAME_H_
#define PHALANX_WORKER_NET_PEER_NAME_H_

#include <string>

namespace phalanx {

// "10.0.0.2:41234" or "[fd00::2]:41234"; "process 123" for a Unix socket; "an unknown peer" if the
// system does not say.
std::string PeerName(int socket);

}  // namespace phalanx

#endif  // PHALANX_WORKER_NET_PEER_NAME_H_
