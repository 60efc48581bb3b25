#include "coordinator/routing/group_registry.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace phalanx {
namespace {

// A group reports only while it works for us; older news of other coordinators' requests is stale.
constexpr absl::Duration kLoadReportLifetime = absl::Seconds(2);

// 0, and what rounding may add.
constexpr float kMaxLogProb = 1e-3f;

bool IsLast(const EngineEvent& event) { return event.finished.has_value() || !event.error.ok(); }

}  // namespace

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

void GroupRegistry::SessionStarted(GroupId group, std::shared_ptr<EngineSession> session) {
  Change(group, [&](Group& entry) {
    entry.session = std::move(session);
    entry.greeted = false;
    entry.healthy = false;
  });
}

absl::Status GroupRegistry::HelloReceived(GroupId group, const GroupHello& hello) {
  absl::Status status;
  Change(group, [&](Group& entry) {
    if (hello.model_fingerprint != options_.model_fingerprint) {
      status = absl::FailedPreconditionError(
          absl::StrCat("worker group ", entry.address, " serves \"", hello.model_name,
                       "\" with fingerprint ", hello.model_fingerprint,
                       ", this coordinator has fingerprint ", options_.model_fingerprint));
    }
    entry.refused = !status.ok();
    entry.greeted = status.ok();
    entry.context_tokens = hello.context_tokens;
  });
  return status;
}

void GroupRegistry::HealthChanged(GroupId group, bool serving) {
  Change(group, [&](Group& entry) { entry.healthy = serving; });
}

void GroupRegistry::StepReceived(GroupId group, absl::Span<const EngineEvent> events,
                                 const GroupLoad& load) {
  struct Delivery {
    std::shared_ptr<GenerationSink> sink;
    const EngineEvent* event;
    absl::Status error;
  };
  std::vector<Delivery> deliveries;
  std::vector<uint64_t> abandoned;
  std::shared_ptr<EngineSession> session;
  {
    MutexLock lock(&mutex_);
    Group& entry = Find(group);
    session = entry.session;
    for (const EngineEvent& event : events) {
      const auto found = requests_.find(event.request_id);
      if (found == requests_.end() || found->second.group != group) continue;
      absl::Status error = event.error;
      const absl::Status sense = CheckEvent(event, found->second);
      if (!sense.ok()) {
        error = absl::InternalError(
            absl::StrCat("worker group ", entry.address, " sent ", sense.message()));
        abandoned.push_back(event.request_id);
      }
      deliveries.push_back({found->second.sink, &event, error});
      if (!event.token_ids.empty() || !event.log_probs.empty()) {
        entry.pending_prompt_tokens -= std::exchange(found->second.pending_prompt_tokens, 0);
      }
      if (IsLast(event) || !error.ok()) {
        Settle(found->second);
        requests_.erase(found);
      }
    }
    entry.others = std::max(0, load.running_requests + load.waiting_requests - entry.outstanding);
    entry.reported_at = clock_->Now();
  }
  for (const uint64_t id : abandoned) session->Cancel(id);
  for (const Delivery& delivery : deliveries) {
    if (!delivery.error.ok()) {
      delivery.sink->OnFailed(delivery.error);
      continue;
    }
    if (!delivery.event->token_ids.empty()) delivery.sink->OnTokens(delivery.event->token_ids);
    if (!delivery.event->log_probs.empty()) delivery.sink->OnLogProbs(delivery.event->log_probs);
    if (delivery.event->finished.has_value()) delivery.sink->OnFinished(*delivery.event->finished);
  }
}

void GroupRegistry::SessionEnded(GroupId group, const absl::Status& reason) {
  std::vector<std::shared_ptr<GenerationSink>> lost;
  std::string address;
  Change(group, [&](Group& entry) EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    address = entry.address;
    entry.session = nullptr;
    entry.greeted = false;
    entry.healthy = false;
    entry.outstanding = 0;
    entry.pending_prompt_tokens = 0;
    entry.others = 0;
    for (auto it = requests_.begin(); it != requests_.end();) {
      const auto current = it++;
      if (current->second.group != group) continue;
      lost.push_back(std::move(current->second.sink));
      requests_.erase(current);
    }
  });
  const absl::Status status =
      absl::UnavailableError(absl::StrCat("lost worker group ", address, ": ", reason.message()));
  for (const auto& sink : lost) sink->OnFailed(status);
}

absl::StatusOr<uint64_t> GroupRegistry::Submit(EngineRequest request,
                                               std::shared_ptr<GenerationSink> sink) {
  std::shared_ptr<EngineSession> session;
  {
    MutexLock lock(&mutex_);
    const int64_t prompt_tokens = static_cast<int64_t>(request.prompt_token_ids.size());
    const int64_t total_tokens = prompt_tokens + request.max_new_tokens;
    std::vector<std::pair<GroupId, Group*>> groups;
    std::vector<GroupCandidate> candidates;
    int largest_context = 0;
    for (auto& [id, group] : groups_) {
      if (group.state() != GroupState::kServing) continue;
      largest_context = std::max(largest_context, group.context_tokens);
      if (total_tokens > group.context_tokens) continue;
      groups.emplace_back(id, &group);
      candidates.push_back(Describe(group));
    }
    const std::optional<int> chosen = ChooseGroup(candidates);
    if (!chosen.has_value() && largest_context == 0) {
      return absl::UnavailableError("no worker group can take requests now");
    }
    if (!chosen.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("max_new_tokens: prompt and answer need ", total_tokens,
                       " tokens, the worker groups' context is ", largest_context));
    }
    const auto& [group_id, group] = groups[*chosen];
    request.id = next_request_++;
    ++group->outstanding;
    ++group->dispatched;
    group->pending_prompt_tokens += prompt_tokens;
    requests_[request.id] = {group_id, std::move(sink), prompt_tokens, request.score};
    session = group->session;
  }
  session->Submit(request);
  return request.id;
}

void GroupRegistry::Cancel(uint64_t request_id) {
  // The sink may die here, which must not happen under the lock.
  std::shared_ptr<GenerationSink> sink;
  std::shared_ptr<EngineSession> session;
  {
    MutexLock lock(&mutex_);
    const auto found = requests_.find(request_id);
    if (found == requests_.end()) return;
    session = Find(found->second.group).session;
    sink = std::move(found->second.sink);
    Settle(found->second);
    requests_.erase(found);
  }
  session->Cancel(request_id);
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

absl::Status GroupRegistry::CheckEvent(const EngineEvent& event, const Request& request) const {
  for (const int32_t id : event.token_ids) {
    if (id >= 0 && id < options_.vocab) continue;
    return absl::InternalError(absl::StrCat("token ", id, ", the vocabulary has ", options_.vocab));
  }
  for (const float log_prob : event.log_probs) {
    if (std::isfinite(log_prob) && log_prob <= kMaxLogProb) continue;
    return absl::InternalError(absl::StrCat("the log-probability ", log_prob));
  }
  if (request.score && !event.token_ids.empty()) {
    return absl::InternalError("tokens where scores were asked for");
  }
  if (!request.score && !event.log_probs.empty()) {
    return absl::InternalError("scores where tokens were asked for");
  }
  const bool scored =
      event.finished.has_value() && event.finished->reason == EngineFinish::Reason::kScored;
  if (event.finished.has_value() && scored != request.score) {
    return absl::InternalError("the end of another kind of request");
  }
  return absl::OkStatus();
}

GroupRegistry::Group& GroupRegistry::Find(GroupId group) {
  const auto found = groups_.find(group);
  CHECK(found != groups_.end()) << "no group " << static_cast<uint64_t>(group);
  return found->second;
}

void GroupRegistry::Settle(Request& request) {
  Group& group = Find(request.group);
  --group.outstanding;
  group.pending_prompt_tokens -= request.pending_prompt_tokens;
}

GroupCandidate GroupRegistry::Describe(const Group& group) const {
  const bool fresh = clock_->Now() - group.reported_at <= kLoadReportLifetime;
  return {.requests = group.outstanding + (fresh ? group.others : 0),
          .pending_prompt_tokens = group.pending_prompt_tokens,
          .dispatched = group.dispatched};
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
  if (changed) on_change_();
}

}  // namespace phalanx
