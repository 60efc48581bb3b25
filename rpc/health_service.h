// grpc.health.v1.Health.
//
// gRPC's own implementation says SERVING for "" until told otherwise, repeats a status that did not
// change, and reads requests without a bound.
#ifndef PHALANX_RPC_HEALTH_SERVICE_H_
#define PHALANX_RPC_HEALTH_SERVICE_H_

#include <memory>
#include <string>
#include <vector>

namespace grpc {
class Service;
}

namespace phalanx {

// SERVING for as long as the process answers at all, whatever else it can do: for probes that
// restart what is stuck.
inline constexpr char kLivenessService[] = "liveness";

// Thread-safe; nothing blocks.
class HealthService {
 public:
  // Knows "", `names` and kLivenessService, all but the last NOT_SERVING. Of other names, Check
  // says NOT_FOUND and Watch SERVICE_UNKNOWN.
  explicit HealthService(std::vector<std::string> names);
  HealthService(const HealthService&) = delete;
  HealthService& operator=(const HealthService&) = delete;
  // To be destroyed after the server on which it is registered.
  ~HealthService();

  // To be registered; owned by this object.
  grpc::Service* service();

  // What is said for "" and `names`. Watches are told of changes, and only of these.
  void SetServing(bool serving);

  // Ends every Watch, and those that come later, with UNAVAILABLE: a server that waits for its
  // calls to end would wait for them. What was set last is told before.
  void EndWatches();

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace phalanx

#endif  // PHALANX_RPC_HEALTH_SERVICE_H_
