// The coordinator: public service, text pool and worker groups in one.
#ifndef PHALANX_COORDINATOR_SERVER_COORDINATOR_SERVER_H_
#define PHALANX_COORDINATOR_SERVER_COORDINATOR_SERVER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/host_port.h"
#include "coordinator/admission/limits.h"
#include "coordinator/routing/engine_connection.h"
#include "coordinator/routing/worker_pool.h"
#include "coordinator/server/serving_environment.h"
#include "coordinator/server/text_pool.h"
#include "coordinator/server/text_service.h"
#include "prometheus/registry.h"
#include "rpc/self_probe.h"

namespace phalanx {

// Serves phalanx.v1.Inference, grpc.health.v1.Health (for "", the model's name and
// "phalanx.v1.Inference": SERVING while a worker group takes requests and no drain has begun; for
// "liveness": SERVING) and server reflection. Thread-safe.
class CoordinatorServer {
 public:
  struct Options {
    // Port 0 takes a free one.
    HostPort listen;
    RequestLimits limits;
    ServedModel model;
    // The model's fingerprint (model/checkpoint/fingerprint.h); groups with another one are
    // refused.
    std::string model_fingerprint;
    // The version of this program, for clients.
    std::string version = "";
    std::vector<HostPort> workers;
    // How many requests may be in the process at once; more are refused with RESOURCE_EXHAUSTED.
    int max_requests = 1024;
    TextPool::Options text;
    AnswerLimits answer;
    EngineConnectionOptions connection;
    WorkerPool::Options pool;
    SelfProbe::Options self_probe = {};
  };

  // Starts the coordinator, which listens when this returns. Makes its metrics in `registry`, which
  // must outlive it. UNAVAILABLE, naming the address, if it cannot be listened on.
  static absl::StatusOr<std::unique_ptr<CoordinatorServer>> Start(Options options,
                                                                  std::unique_ptr<TextService> text,
                                                                  prometheus::Registry& registry);
  virtual ~CoordinatorServer() = default;

  // HOST:PORT with the port in use; the loopback address if it listens on all of them.
  virtual std::string address() const = 0;

  // The first half of leaving gracefully: health becomes NOT_SERVING and everything else goes on,
  // so that those who choose among servers by their health turn to others.
  virtual void BeginLameDuck() = 0;

  // The second half of leaving gracefully; does the first half too unless that is done. Every
  // connection is told to go away (GOAWAY), no new one is taken, new calls get UNAVAILABLE, and
  // calls in the process go on. `on_idle` is called once when none is left, on any thread. To be
  // called once. Destroying the server ends the calls that are left.
  virtual void Drain(std::function<void()> on_idle) = 0;

  // The number of requests in the process.
  virtual int requests_in_flight() const = 0;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_COORDINATOR_SERVER_H_
