#include "coordinator/routing/worker_pool.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace phalanx {

GroupSet::GroupSet(GroupRegistry* registry, GroupConnectionFactory connect)
    : registry_(registry), connect_(std::move(connect)) {}

GroupSet::~GroupSet() {
  for (auto& [address, member] : members_) {
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
  for (auto it = members_.begin(); it != members_.end();) {
    const auto& [address, member] = *it;
    const bool retired = std::find(addresses.begin(), addresses.end(), address) == addresses.end();
    registry_->SetRetired(member.group, retired);
    if (!retired || registry_->OutstandingRequests(member.group) > 0) {
      ++it;
      continue;
    }
    LOG(INFO) << "worker group " << address << " has left";
    const GroupId group = member.group;
    it = members_.erase(it);
    registry_->Remove(group);
  }
}

WorkerPool::WorkerPool(const Options& options, GroupRegistry* registry,
                       GroupConnectionFactory connect, TargetResolver resolver)
    : options_(options),
      resolver_(std::move(resolver)),
      groups_(registry, std::move(connect)),
      thread_([this] { Run(); }) {}

WorkerPool::~WorkerPool() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  wake_.SignalAll();
  thread_.join();
}

void WorkerPool::Run() {
  while (true) {
    groups_.Update(resolver_.Resolve());
    MutexLock lock(&mutex_);
    bool timed_out = false;
    while (!stopping_ && !timed_out) timed_out = wake_.WaitFor(&mutex_, options_.resolve_interval);
    if (stopping_) return;
  }
}

}  // namespace phalanx
