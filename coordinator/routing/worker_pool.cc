#include "coordinator/routing/worker_pool.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/log.h"

namespace phalanx {

GroupSet::GroupSet(GroupRegistry* registry, GroupConnectionFactory connect)
    : registry_(registry), connect_(std::move(connect)) {}

GroupSet::~GroupSet() {
  for (auto& [address, member] : members_) {
    // Ends the session, which the registry wants before Remove.
    member.connection.reset();
    registry_->Remove(member.group);
  }
}

void GroupSet::Update(const std::vector<std::string>& addresses) {
  for (const std::string& address : addresses) {
    if (members_.contains(address)) continue;
    const GroupId group = registry_->Add(address);
    members_[address] = {group, connect_(address, group)};
  }
  // New groups have been added before old ones are retired, so that requests find a group at all
  // times. An address that comes back before its group has left is retired no more.
  for (auto it = members_.begin(); it != members_.end();) {
    const auto& [address, member] = *it;
    const bool retired = std::find(addresses.begin(), addresses.end(), address) == addresses.end();
    registry_->SetRetired(member.group, retired);
    if (!retired || registry_->OutstandingRequests(member.group) > 0) {
      ++it;
      continue;
    }
    LOG(INFO) << "worker group " << address << " has left";
    // `member` goes with the element.
    const GroupId group = member.group;
    it = members_.erase(it);
    registry_->Remove(group);
  }
}

WorkerPool::WorkerPool(const Options& options, GroupRegistry* registry,
                       GroupConnectionFactory connect, std::vector<HostPort> targets,
                       TargetWatcher::ResolveFunction resolve)
    : watcher_(std::move(targets), std::move(resolve), options.resolve_interval),
      groups_(registry, std::move(connect)),
      thread_([this] { Run(); }) {}

WorkerPool::~WorkerPool() {
  watcher_.Stop();
  thread_.join();
}

void WorkerPool::Run() {
  while (const std::optional<std::vector<std::string>> addresses = watcher_.Next()) {
    groups_.Update(*addresses);
  }
}

}  // namespace phalanx
