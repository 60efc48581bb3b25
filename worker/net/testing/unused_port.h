// A port for a test of something that is told its port beforehand.
#ifndef PHALANX_WORKER_NET_TESTING_UNUSED_PORT_H_
#define PHALANX_WORKER_NET_TESTING_UNUSED_PORT_H_

#include "base/log.h"
#include "worker/net/stream_socket.h"

namespace phalanx::testing {

// Of 127.0.0.1. Nobody listened there a moment ago, and the system gives the ports that it chooses
// itself out in no order.
inline int UnusedPort() {
  const absl::StatusOr<StreamListener> listener = StreamListener::Create({"127.0.0.1", 0}, nullptr);
  CHECK(listener.ok());
  return listener->port();
}

}  // namespace phalanx::testing

#endif  // PHALANX_WORKER_NET_TESTING_UNUSED_PORT_H_
