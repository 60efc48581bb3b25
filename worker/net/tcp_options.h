// How TCP behaves between the processes of a group.
#ifndef PHALANX_WORKER_NET_TCP_OPTIONS_H_
#define PHALANX_WORKER_NET_TCP_OPTIONS_H_

#include "absl/time/time.h"

namespace phalanx {

// What is written leaves at once (TCP_NODELAY), and a connection that idles breaks once the peer's
// host has not answered for `silence_limit`. What the system refuses is left as it is; sockets that
// are not TCP's too.
void SetTcpOptions(int socket, absl::Duration silence_limit);

// The connection also breaks once what was sent has not been acknowledged, or not been read, for
// `silence_limit`.
void LimitTcpSilence(int socket, absl::Duration silence_limit);

}  // namespace phalanx

#endif  // PHALANX_WORKER_NET_TCP_OPTIONS_H_
