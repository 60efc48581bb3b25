// Turns --worker=HOST:PORT into addresses of worker groups.
#ifndef PHALANX_COORDINATOR_ROUTING_TARGET_RESOLVER_H_
#define PHALANX_COORDINATOR_ROUTING_TARGET_RESOLVER_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace phalanx {

struct WorkerTarget {
  // Name or numeric address, without brackets.
  std::string host;
  int port = 0;
};

// "host:port", "1.2.3.4:port" or "[::1]:port". INVALID_ARGUMENT with the text otherwise.
absl::StatusOr<WorkerTarget> ParseWorkerTarget(const std::string& text);

// All addresses of the target, as "1.2.3.4:port" or "[::1]:port", ascending. A name with addresses
// of both families gives only the IPv4 ones: they would be the same groups twice. UNAVAILABLE if
// the name does not resolve. Blocks for as long as the system's resolver does.
absl::StatusOr<std::vector<std::string>> ResolveWorkerTarget(const WorkerTarget& target);

// The addresses of several targets. Thread-compatible.
class TargetResolver {
 public:
  using ResolveFunction =
      std::function<absl::StatusOr<std::vector<std::string>>(const WorkerTarget&)>;

  TargetResolver(std::vector<WorkerTarget> targets, ResolveFunction resolve);

  // Resolves every target; one that fails keeps the addresses it had, and is logged when it begins
  // to fail. Ascending, without repetitions. Blocks as `resolve` does.
  std::vector<std::string> Resolve();

 private:
  struct Entry {
    WorkerTarget target;
    std::vector<std::string> addresses;
    bool failing = false;
  };

  std::vector<Entry> entries_;
  const ResolveFunction resolve_;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ROUTING_TARGET_RESOLVER_H_
