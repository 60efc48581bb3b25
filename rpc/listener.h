// Where a gRPC server's connections come in.
//
// gRPC 1.51's own listener stops for good once descriptors run out: it never accepts again,
// although connects still succeed. And it takes connections until then, so that nothing is left for
// files, worker groups and metrics.
#ifndef PHALANX_RPC_LISTENER_H_
#define PHALANX_RPC_LISTENER_H_

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

// A thread that accepts connections and gives them to a server. What the server may not have is
// closed at once, which its client sees as UNAVAILABLE: connections whose descriptor would be among
// the last quarter, at most 64, of those that the process may open. Nothing ends it but Stop.
//
// Order of calls: Listen, Attach, ServerBuilder::BuildAndStart, Start, Stop, Server::Shutdown.
class Listener {
 public:
  // Listens (see base/listen_socket.h), so that connections wait from now on. Makes its metrics in
  // `registry`: phalanx_connections_accepted_total and phalanx_connections_refused_total.
  // UNAVAILABLE, naming the address, if it cannot be listened on.
  static absl::StatusOr<std::unique_ptr<Listener>> Listen(const HostPort& address,
                                                          prometheus::Registry& registry);
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  // As Stop.
  ~Listener();

  int port() const;

  void Attach(grpc::ServerBuilder& builder);

  // The server that was built runs.
  void Start();

  // Closes the port. Connections that were accepted are the server's. To be called before the
  // server is shut down: it leaves those that come later hanging. Further calls do nothing.
  void Stop();

 private:
  class Impl;
  explicit Listener(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace phalanx

#endif  // PHALANX_RPC_LISTENER_H_
