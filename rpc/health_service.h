// The service grpc.health.v1.Health.
//
// gRPC's own implementation says SERVING for "" until it is told otherwise, sends a status again
// that did not change, and reads requests without a bound.
#ifndef PHALANX_RPC_HEALTH_SERVICE_H_
#define PHALANX_RPC_HEALTH_SERVICE_H_

#include <memory>
#include <string>
#include <vector>

namespace grpc {
class Service;
}

namespace phalanx {

// A name that is SERVING for as long as the process answers at all, whatever else works: for probes
// that restart a process which is stuck.
inline constexpr char kLivenessService[] = "liveness";

// Thread-safe; nothing blocks.
class HealthService {
 public:
  // Knows "", `names` and kLivenessService. "" and `names` are NOT_SERVING at first. For other
  // names Check says NOT_FOUND and Watch SERVICE_UNKNOWN.
  explicit HealthService(std::vector<std::string> names);
  HealthService(const HealthService&) = delete;
  HealthService& operator=(const HealthService&) = delete;
  // To be destroyed after the server on which it is registered.
  ~HealthService();

  // To be registered; owned by this object.
  grpc::Service* service();

  // Sets what is said for "" and `names`. Watches are told of changes, and of nothing else.
  void SetServing(bool serving);

  // Ends every Watch with UNAVAILABLE, and those that come later, after each has been told what was
  // set last. Without this a server that waits for its calls to end would wait for the watches.
  void EndWatches();

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace phalanx

#endif  // PHALANX_RPC_HEALTH_SERVICE_H_
