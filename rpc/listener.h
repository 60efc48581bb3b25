// Accepts the connections of a gRPC server.
//
// gRPC 1.51's own listener stops for good once descriptors run out: it never accepts again,
// although clients can still connect. And it takes connections until then, so that nothing is left
// for files, worker groups and metrics. Nor does it bound what one connection may cost.
#ifndef PHALANX_RPC_LISTENER_H_
#define PHALANX_RPC_LISTENER_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "base/host_port.h"
#include "prometheus/registry.h"

namespace grpc {
class ServerBuilder;
}

namespace phalanx {

// Raises the soft limit of open files to the hard one, for this process and those that it starts.
void RaiseDescriptorLimit();

// A thread that accepts connections and gives them to a server. A connection whose descriptor would
// be among the last quarter, at most 64, of those that the process may open, is closed at once,
// which its client sees as UNAVAILABLE. What arrives on the others passes through a RequestFilter
// (request_filter.h). The thread ends only by Stop.
//
// Order of calls: Listen, Attach, ServerBuilder::BuildAndStart, Start, Stop, Server::Shutdown.
class Listener {
 public:
  // Listens (see base/listen_socket.h), so that clients can connect and wait. `max_message_bytes`
  // is what the server allows (SetUpServer). Makes its metrics in `registry`, which must outlive
  // the server's connections: phalanx_connections_accepted_total, phalanx_connections_refused_total
  // and phalanx_connections_cut_total. UNAVAILABLE, naming the address, if it cannot be listened
  // on.
  static absl::StatusOr<std::unique_ptr<Listener>> Listen(const HostPort& address,
                                                          int64_t max_message_bytes,
                                                          prometheus::Registry& registry);
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  // Does what Stop does.
  ~Listener();

  int port() const;

  // How many connections were closed at once so far.
  int64_t refused() const;

  void Attach(grpc::ServerBuilder& builder);

  // To be called once the server that was built is running.
  void Start();

  // Closes the port. Connections that were accepted stay with the server. To be called before the
  // server is shut down, which would leave connections hanging that come later. Further calls do
  // nothing.
  void Stop();

 private:
  class Impl;
  explicit Listener(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace phalanx

#endif  // PHALANX_RPC_LISTENER_H_
