// Keeps one connection to every worker group that the targets resolve to.
#ifndef PHALANX_COORDINATOR_ROUTING_WORKER_POOL_H_
#define PHALANX_COORDINATOR_ROUTING_WORKER_POOL_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "base/host_port.h"
#include "coordinator/routing/group_registry.h"
#include "coordinator/routing/target_watcher.h"

namespace phalanx {

// Reports to the registry as soon as it is made. The destructor ends the session, fails what is
// outstanding, and returns when no further call to the registry can come.
class GroupConnection {
 public:
  virtual ~GroupConnection() = default;
};

using GroupConnectionFactory =
    std::function<std::unique_ptr<GroupConnection>(const std::string& address, GroupId group)>;

// The set of connections, without a thread of its own. A group whose address vanishes is retired:
// it finishes what it has, then its connection ends. Thread-compatible.
class GroupSet {
 public:
  // `registry` must outlive the object.
  GroupSet(GroupRegistry* registry, GroupConnectionFactory connect);
  GroupSet(const GroupSet&) = delete;
  GroupSet& operator=(const GroupSet&) = delete;
  ~GroupSet();

  // Makes `addresses` the groups that take requests, and drops retired ones that are done.
  void Update(const std::vector<std::string>& addresses);

 private:
  struct Member {
    GroupId group;
    std::unique_ptr<GroupConnection> connection;
  };

  GroupRegistry* const registry_;
  const GroupConnectionFactory connect_;
  std::map<std::string, Member> members_;
};

// A GroupSet that follows its targets from a thread of its own. Destroying it ends all sessions,
// and does not wait for a name service that does not answer. Thread-safe.
class WorkerPool {
 public:
  struct Options {
    // How long a change in the name service may stay unseen.
    absl::Duration resolve_interval = absl::Seconds(5);
  };

  // `registry` must outlive the object.
  WorkerPool(const Options& options, GroupRegistry* registry, GroupConnectionFactory connect,
             std::vector<HostPort> targets, TargetWatcher::ResolveFunction resolve);
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;
  ~WorkerPool();

 private:
  void Run();

  TargetWatcher watcher_;
  // Used by thread_ alone.
  GroupSet groups_;
  std::thread thread_;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ROUTING_WORKER_POOL_H_
