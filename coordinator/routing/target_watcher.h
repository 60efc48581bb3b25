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

// Resolves each target from a thread of its own, again and again: one whose name service does not
// answer delays neither the others nor the end. Thread-safe.
class TargetWatcher {
 public:
  // Addresses as "1.2.3.4:port" or "[::1]:port". May block.
  using ResolveFunction = std::function<absl::StatusOr<std::vector<std::string>>(const HostPort&)>;

  // Between two tries of a target passes `interval`. `resolve` is called from several threads, one
  // call at a time for each target; calls may go on when this object is gone.
  TargetWatcher(std::vector<HostPort> targets, ResolveFunction resolve, absl::Duration interval);
  TargetWatcher(const TargetWatcher&) = delete;
  TargetWatcher& operator=(const TargetWatcher&) = delete;
  // Does not wait for `resolve`: a thread that is inside ends when it comes back.
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

  // Shared with the threads.
  const std::shared_ptr<State> state_;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ROUTING_TARGET_WATCHER_H_
