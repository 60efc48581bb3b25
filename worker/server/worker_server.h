// The gRPC server of a worker group's leader: phalanx.worker.v1.Engine and Introspection, the
// standard health service and reflection.
#ifndef PHALANX_WORKER_SERVER_WORKER_SERVER_H_
#define PHALANX_WORKER_SERVER_WORKER_SERVER_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/host_port.h"
#include "kernels/ops.h"
#include "prometheus/registry.h"
#include "rpc/self_probe.h"
#include "worker/engine/engine.h"
#include "worker/server/introspection_service.h"

namespace phalanx {

// What each session is told first; see phalanx.worker.v1.Hello.
struct HelloInfo {
  std::string model_name;
  std::string model_fingerprint;
  int context_tokens = 0;
  int world = 0;
  int total_kv_blocks = 0;
  std::string weights_digest;
  kernels::Determinism determinism = kernels::Determinism::kStrict;
  std::string arithmetic = "";
  // model/generation/engine_features.h.
  std::vector<std::string> features = {};
};

// Thread-safe.
class WorkerServer {
 public:
  struct Options {
    // Port 0 takes a free one.
    HostPort address;
    // The registry for the metrics of connections. Must be set, and must outlive the server.
    prometheus::Registry* registry = nullptr;
    // Limit on the bytes of events that wait for a peer that does not read. A session with more
    // ends with RESOURCE_EXHAUSTED and its requests are cancelled.
    size_t max_queued_bytes = 4 << 20;
    SelfProbe::Options self_probe = {};
    IntrospectionService::Options introspection = {};
  };

  // Starts to listen. The health service says NOT_SERVING, and sessions wait for Announce. `engine`
  // is lent and must outlive the server. UNAVAILABLE, naming the address, if it cannot be listened
  // on.
  static absl::StatusOr<std::unique_ptr<WorkerServer>> Start(const Options& options,
                                                             Engine* engine);
  WorkerServer(const WorkerServer&) = delete;
  WorkerServer& operator=(const WorkerServer&) = delete;
  // Like Shutdown with a grace of zero.
  ~WorkerServer();

  // The port that is listened on.
  int port() const;

  // Sends `hello` to the sessions that wait, and to each that comes later. To be called once,
  // before SetServing(true).
  void Announce(const HelloInfo& hello);

  // What the health service says for "" and for "phalanx.worker.v1.Engine".
  void SetServing(bool serving);

  // Says NOT_SERVING, gives open sessions `grace` to end by themselves, then breaks them off.
  // Blocks until all are gone. To be called after Engine::Drain and Engine::Stop: sessions end with
  // their engine. Further calls do nothing.
  void Shutdown(absl::Duration grace);

 private:
  class Impl;
  explicit WorkerServer(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_SERVER_WORKER_SERVER_H_
