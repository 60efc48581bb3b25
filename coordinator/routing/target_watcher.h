// Follows what the targets of --worker resolve to.
#ifndef PHALANX_COORDINATOR_ROUTING_TARGET_WATCHER_H_
#define PHALANX_COORDINATOR_ROUTING_TARGET_WATCHER_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/host_port.h"

namespace phalanx {

// Resolves each target again and again, on a thread of its own. So a name service that does not
// answer delays neither the other targets nor the end. Thread-safe.
class TargetWatcher {
 public:
  // Addresses as "1.2.3.4:port" or "[::1]:port". May block.
  using ResolveFunction = std::function<absl::StatusOr<std::vector<std::string>>(const HostPort&)>;

  // `interval` is the time between two tries of a target. `resolve` is called from several threads,
  // one call at a time for each target. Calls may go on when this object is gone.
  TargetWatcher(std::vector<HostPort> targets, ResolveFunction resolve, absl::Duration interval);
  TargetWatcher(const TargetWatcher&) = delete;
  TargetWatcher& operator=(const TargetWatcher&) = delete;
  // Does not wait for `resolve`: a thread that is in it ends when it returns.
  ~TargetWatcher();

  // Blocks until a target has resolved or failed since the last call, but for `interval` at most;
  // returns the addresses of all targets, ascending, without repetitions. A target that fails keeps
  // the addresses it had, and is logged when it begins to fail. nullopt after Stop.
  std::optional<std::vector<std::string>> Next();

  // Makes Next return, from any thread.
  void Stop();

 private:
  struct State;

  static void Follow(const std::shared_ptr<State>& state, size_t index);

  // Shared with the threads, which may outlive this object.
  const std::shared_ptr<State> state_;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ROUTING_TARGET_WATCHER_H_
