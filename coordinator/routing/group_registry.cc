#include "coordinator/routing/group_registry.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace phalanx {

absl::string_view GroupStateName(GroupState state) {
  switch (state) {
    case GroupState::kConnecting:
      return "connecting";
    case GroupState::kNotServing:
      return "not_serving";
    case GroupState::kRefused:
      return "refused";
    case GroupState::kServing:
      return "serving";
  }
  return "unknown";
}

absl::string_view MoveReasonName(MoveReason reason) {
  switch (reason) {
    case MoveReason::kQueueFull:
      return "queue_full";
    case MoveReason::kDraining:
      return "draining";
    case MoveReason::kLost:
      return "lost";
  }
  return "unknown";
}

GroupState GroupRegistry::Group::state() const {
  if (refused) return GroupState::kRefused;
  if (!greeted) return GroupState::kConnecting;
  return healthy && !retired ? GroupState::kServing : GroupState::kNotServing;
}

GroupRegistry::GroupRegistry(Options options, const Clock* clock, std::function<void()> on_change)
    : options_(std::move(options)), clock_(clock), on_change_(std::move(on_change)) {}

GroupRegistry::~GroupRegistry() {
  MutexLock lock(&mutex_);
  CHECK(requests_.empty()) << requests_.size() << " requests are left";
}

GroupId GroupRegistry::Add(const std::string& address) {
  GroupId id;
  {
    MutexLock lock(&mutex_);
    id = GroupId{next_group_++};
    groups_[id].address = address;
  }
  on_change_();
  return id;
}

void GroupRegistry::SetRetired(GroupId group, bool retired) {
  Change(group, [&](Group& entry) { entry.retired = retired; });
}

int GroupRegistry::OutstandingRequests(GroupId group) const {
  MutexLock lock(&mutex_);
  const auto found = groups_.find(group);
  return found == groups_.end() ? 0 : found->second.outstanding;
}

void GroupRegistry::Remove(GroupId group) {
  {
    MutexLock lock(&mutex_);
    CHECK(Find(group).session == nullptr) << Find(group).address << " still has a session";
    groups_.erase(group);
  }
  on_change_();
}

void GroupRegistry::SessionStarted(GroupId group, std::shared_ptr<GroupSession> session) {
  Change(group, [&](Group& entry) {
    entry.session = std::move(session);
    entry.greeted = false;
    entry.healthy = false;
  });
}

absl::Status GroupRegistry::HelloReceived(GroupId group, const GroupHello& hello) {
  absl::Status status;
  Change(group, [&](Group& entry) EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    status = CheckHello(group, hello);
    // Stays after the session ends, until the next Hello.
    entry.refused = !status.ok();
    entry.greeted = status.ok();
    entry.context_tokens = hello.context_tokens;
    entry.determinism = hello.determinism;
    entry.arithmetic = hello.arithmetic;
    entry.features = {hello.features.begin(), hello.features.end()};
    entry.weights_digest.reset();
    if (status.ok()) entry.weights_digest = hello.weights_digest;
  });
  return status;
}

absl::Status GroupRegistry::CheckHello(GroupId group, const GroupHello& hello) const {
  const std::string& address = groups_.at(group).address;
  if (hello.model_fingerprint != options_.model_fingerprint) {
    return absl::FailedPreconditionError(
        absl::StrCat("worker group ", address, " serves \"", hello.model_name,
                     "\" with fingerprint ", hello.model_fingerprint,
                     ", this coordinator has fingerprint ", options_.model_fingerprint));
  }
  for (const auto& [id, other] : groups_) {
    // A group that is gone for the moment counts too. If it did not, two groups with different
    // weights could take turns in being there.
    if (id == group || other.retired || !other.weights_digest.has_value()) continue;
    if (*other.weights_digest == hello.weights_digest) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "worker group ", address, " has other weights than worker group ", other.address,
        ", under the same headers: digest ", hello.weights_digest, " instead of ",
        *other.weights_digest, "; give both the same file, or take one off the list of workers"));
  }
  return absl::OkStatus();
}

void GroupRegistry::HealthChanged(GroupId group, bool serving) {
  Change(group, [&](Group& entry) { entry.healthy = serving; });
}

int GroupRegistry::CountGroups(GroupState state) const {
  MutexLock lock(&mutex_);
  return static_cast<int>(std::count_if(groups_.begin(), groups_.end(), [&](const auto& entry) {
    return entry.second.state() == state;
  }));
}

int GroupRegistry::ServingContextTokens() const {
  MutexLock lock(&mutex_);
  int largest = 0;
  for (const auto& [id, group] : groups_) {
    if (group.state() == GroupState::kServing) largest = std::max(largest, group.context_tokens);
  }
  return largest;
}

std::string GroupRegistry::ServingWeightsDigest() const {
  MutexLock lock(&mutex_);
  for (const auto& [id, group] : groups_) {
    if (group.state() == GroupState::kServing) return *group.weights_digest;
  }
  return "";
}

Determinism GroupRegistry::ServingDeterminism() const {
  MutexLock lock(&mutex_);
  std::optional<Determinism> weakest;
  for (const auto& [id, group] : groups_) {
    if (group.state() != GroupState::kServing) continue;
    weakest = std::min(weakest.value_or(group.determinism), group.determinism);
  }
  return weakest.value_or(Determinism::kUnknown);
}

std::vector<std::string> GroupRegistry::ServingArithmetic() const {
  MutexLock lock(&mutex_);
  std::set<std::string> kinds;
  for (const auto& [id, group] : groups_) {
    if (group.state() == GroupState::kServing && !group.arithmetic.empty()) {
      kinds.insert(group.arithmetic);
    }
  }
  return {kinds.begin(), kinds.end()};
}

std::optional<std::set<std::string>> GroupRegistry::ServingFeatures() const {
  MutexLock lock(&mutex_);
  std::optional<std::set<std::string>> features;
  for (const auto& [id, group] : groups_) {
    if (group.state() != GroupState::kServing) continue;
    if (!features.has_value()) features.emplace();
    features->insert(group.features.begin(), group.features.end());
  }
  return features;
}

GroupRegistry::Group& GroupRegistry::Find(GroupId group) {
  const auto found = groups_.find(group);
  CHECK(found != groups_.end()) << "no group " << static_cast<uint64_t>(group);
  return found->second;
}

void GroupRegistry::Change(GroupId group, const std::function<void(Group&)>& change) {
  bool changed = false;
  {
    MutexLock lock(&mutex_);
    Group& entry = Find(group);
    const GroupState before = entry.state();
    change(entry);
    changed = entry.state() != before;
  }
  // Without the lock, because on_change_ asks for the states.
  if (changed) on_change_();
}

}  // namespace phalanx
