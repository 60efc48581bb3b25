// The part of GroupRegistry that deals with requests.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "base/status.h"
#include "coordinator/admission/refusal.h"
#include "coordinator/routing/check_event.h"
#include "coordinator/routing/group_registry.h"
#include "model/generation/engine_features.h"

namespace phalanx {
namespace {

// How long a group's report of its load counts. A group reports only together with news of this
// coordinator's requests, so a report may be old, and what it says of other coordinators' requests
// wrong.
constexpr absl::Duration kLoadReportLifetime = absl::Seconds(2);

bool IsLast(const EngineEvent& event) { return event.finished.has_value() || !event.error.ok(); }

// What the client is told of `error`. It must not name a group, so words of gRPC's, which may hold
// an address, are replaced. CANCELLED is how a session ends that this coordinator has left.
absl::Status ForThePublic(const absl::Status& error) {
  if (absl::IsCancelled(error)) return absl::UnavailableError("the server is shutting down");
  if (!absl::IsUnavailable(error)) return error;
  return absl::UnavailableError("the worker group that had the request was lost");
}

absl::Status NoWorkerGroup() {
  return Refused(RefusalKind::kNoWorkerGroup,
                 absl::UnavailableError("no worker group can take requests now"));
}

std::vector<absl::string_view> FeaturesNeeded(const EngineRequest& request) {
  std::vector<absl::string_view> needed = FeaturesNeeded(request.options, request.sampling);
  if (request.constraint.has_value()) needed.push_back(engine_feature::kConstraint);
  if (request.score) needed.push_back(engine_feature::kScore);
  if (!request.cache_salt.empty()) needed.push_back(engine_feature::kCacheSalt);
  return needed;
}

bool HasAll(const std::set<std::string>& features, const std::vector<absl::string_view>& needed) {
  return std::all_of(needed.begin(), needed.end(), [&](absl::string_view feature) {
    return features.count(std::string(feature)) > 0;
  });
}

absl::Status NoGroupWith(const std::vector<absl::string_view>& features) {
  return Refused(RefusalKind::kFeatureMissing,
                 absl::UnimplementedError(
                     absl::StrCat("no worker group that takes requests now has ",
                                  features.size() == 1 ? "the feature " : "all of the features ",
                                  absl::StrJoin(features, ", "), ", which this request needs")));
}

}  // namespace

absl::StatusOr<uint64_t> GroupRegistry::Submit(EngineRequest content,
                                               std::shared_ptr<GenerationSink> sink) {
  std::vector<EngineRequest> requests;
  requests.push_back(std::move(content));
  ASSIGN_OR_RETURN(const std::vector<uint64_t> ids,
                   SubmitAll(std::move(requests), {std::move(sink)}));
  return ids.front();
}

absl::StatusOr<std::vector<uint64_t>> GroupRegistry::SubmitAll(
    std::vector<EngineRequest> requests, std::vector<std::shared_ptr<GenerationSink>> sinks) {
  std::vector<Sending> sendings;
  std::vector<uint64_t> ids;
  {
    MutexLock lock(&mutex_);
    std::optional<GroupId> group;
    for (size_t i = 0; i < requests.size(); ++i) {
      EngineRequest& content = requests[i];
      Request request;
      request.sink = std::move(sinks[i]);
      request.name = content.name;
      request.submitted_at = clock_->Now();
      request.deadline = request.submitted_at + content.time_left;
      request.expected = {.score = content.score,
                          .log_probs = content.options.log_probs.has_value(),
                          .max_new_tokens = content.max_new_tokens};
      const uint64_t id = content.id = next_request_++;
      request.content = std::make_shared<const EngineRequest>(std::move(content));
      if (!group.has_value()) {
        ASSIGN_OR_RETURN(group, ChooseFor(request));
      }
      sendings.push_back(Assign(request, *group));
      ids.push_back(id);
      // Before it is sent: events may come from another thread while Send is still running.
      requests_.emplace(id, std::move(request));
    }
  }
  for (const Sending& sending : sendings) Send(sending);
  return ids;
}

void GroupRegistry::Cancel(uint64_t request_id) {
  // Destroyed after the lock is released: this may be the last holder of the sink, whose destructor
  // may do anything.
  Request request;
  std::shared_ptr<GroupSession> session;
  {
    MutexLock lock(&mutex_);
    const auto found = requests_.find(request_id);
    if (found == requests_.end()) return;
    // Not null: when a session ends, SessionEnded takes all requests away from it.
    session = Find(found->second.group()).session;
    Settle(found->second);
    request = std::move(found->second);
    requests_.erase(found);
  }
  session->Cancel(request_id);
}

absl::StatusOr<GroupId> GroupRegistry::ChooseFor(const Request& request) const {
  const EngineRequest& content = *request.content;
  const int64_t total_tokens =
      static_cast<int64_t>(content.prompt_token_ids.size()) + content.max_new_tokens;
  std::vector<GroupId> ids;
  std::vector<GroupCandidate> candidates;
  const std::vector<absl::string_view> needed = FeaturesNeeded(content);
  bool any_serves = false;
  int largest_context = 0;
  for (const auto& [id, group] : groups_) {
    if (group.state() != GroupState::kServing) continue;
    any_serves = true;
    if (!HasAll(group.features, needed)) continue;
    largest_context = std::max(largest_context, group.context_tokens);
    if (total_tokens > group.context_tokens) continue;
    // A group that refused the request would do so again, and one that was lost with it may be lost
    // because of it.
    if (std::find(request.groups.begin(), request.groups.end(), id) != request.groups.end()) {
      continue;
    }
    ids.push_back(id);
    candidates.push_back(Describe(group));
  }
  const std::optional<int> chosen = ChooseGroup(candidates);
  if (chosen.has_value()) return ids[*chosen];
  // Both errors are for Submit. MoveOrFail has an error of its own for a request that finds no
  // group.
  if (!any_serves) return NoWorkerGroup();
  if (largest_context == 0) return NoGroupWith(needed);
  return Refused(RefusalKind::kTooLong,
                 absl::InvalidArgumentError(
                     absl::StrCat("max_new_tokens: prompt and answer need ", total_tokens,
                                  " tokens, the worker groups' context is ", largest_context)));
}

GroupRegistry::Sending GroupRegistry::Assign(Request& request, GroupId group) {
  Group& entry = Find(group);
  request.groups.push_back(group);
  request.sent_at = clock_->Now();
  request.accepted = false;
  request.pending_prompt_tokens = static_cast<int64_t>(request.content->prompt_token_ids.size());
  ++entry.outstanding;
  ++entry.dispatched;
  entry.pending_prompt_tokens += request.pending_prompt_tokens;
  return {entry.session, request.content, group};
}

void GroupRegistry::Send(const Sending& sending) {
  sending.session->Submit(*sending.content);
  {
    MutexLock lock(&mutex_);
    const auto found = requests_.find(sending.content->id);
    if (found != requests_.end() && found->second.group() == sending.group) return;
  }
  // The request ended or moved while it was being sent. Its cancellation may have reached the group
  // before it, and had no effect then.
  sending.session->Cancel(sending.content->id);
}

void GroupRegistry::StepReceived(GroupId group, absl::Span<const EngineEvent> events,
                                 const GroupLoad& load) {
  Outcome outcome;
  std::shared_ptr<GroupSession> session;
  {
    MutexLock lock(&mutex_);
    Group& entry = Find(group);
    session = entry.session;
    // First the events, then the load: both are from after the step.
    for (const EngineEvent& event : events) Apply(group, event, &outcome);
    entry.others = std::max(0, load.running_requests + load.waiting_requests - entry.outstanding);
    entry.reported_at = clock_->Now();
  }
  CarryOut(outcome, session.get());
}

void GroupRegistry::Apply(GroupId group, const EngineEvent& event, Outcome* outcome) {
  const auto found = requests_.find(event.request_id);
  // Cancelled here, or moved away from this group, while the event was on its way.
  if (found == requests_.end() || found->second.group() != group) return;
  Request& request = found->second;
  const absl::Status sense = CheckEvent(event, request.expected, options_.vocab);
  if (!sense.ok()) outcome->abandoned.push_back(event.request_id);
  const absl::Status& error = sense.ok() ? event.error : sense;
  const bool has_answer = !event.token_ids.empty() || !event.log_probs.empty();
  if (!error.ok() && !has_answer) {
    if (const auto reason = ReasonToMove(request, error); reason.has_value()) {
      Settle(request);
      return MoveOrFail(found, *reason, error, outcome);
    }
  }
  // A group need not say everything: whoever sends an answer has begun, and whoever has begun has
  // accepted.
  const bool works = event.started || has_answer || event.finished.has_value();
  request.accepted |= event.accepted || works;
  outcome->deliveries.push_back(
      {.sink = request.sink,
       .event = &event,
       .accepted = request.accepted && !std::exchange(request.acceptance_told, request.accepted),
       .started = works && !std::exchange(request.start_told, true),
       .moved = request.sent_at - request.submitted_at,
       .error = ForThePublic(error)});
  request.expected.tokens += static_cast<int>(event.token_ids.size());
  // The client gets this part of the answer, so no other group can begin it again.
  if (has_answer) {
    Find(group).pending_prompt_tokens -= std::exchange(request.pending_prompt_tokens, 0);
    request.content = nullptr;
  }
  if (absl::IsUnavailable(error) || absl::IsInternal(error)) {
    LOG(WARNING) << "request " << request.name << " fails in worker group " << Find(group).address
                 << ": " << error;
  }
  if (IsLast(event) || !error.ok()) {
    Settle(request);
    requests_.erase(found);
  }
}

std::optional<MoveReason> GroupRegistry::ReasonToMove(const Request& request,
                                                      const absl::Status& error) {
  if (request.content == nullptr) return std::nullopt;
  // A group that fails a request which it accepted has lost a rank or is being shut down. Before
  // that, an error is a refusal.
  if (request.accepted) {
    return absl::IsUnavailable(error) ? std::optional(MoveReason::kLost) : std::nullopt;
  }
  if (absl::IsUnavailable(error)) return MoveReason::kDraining;
  if (absl::IsResourceExhausted(error)) return MoveReason::kQueueFull;
  return std::nullopt;
}

void GroupRegistry::MoveOrFail(RequestMap::iterator found, MoveReason reason,
                               const absl::Status& error, Outcome* outcome) {
  Request& request = found->second;
  Group& left = Find(request.group());
  const absl::Time now = clock_->Now();
  if (reason != MoveReason::kLost) left.refused_at = now;
  if (reason == MoveReason::kLost) ++request.losses;
  absl::Status failure = reason == MoveReason::kDraining ? NoWorkerGroup() : ForThePublic(error);
  if (reason == MoveReason::kQueueFull) failure = Refused(RefusalKind::kQueueFull, failure);
  absl::StatusOr<GroupId> next = failure;
  if (request.deadline <= now) {
    failure = absl::DeadlineExceededError("the deadline passed before a worker group answered");
  } else if (static_cast<int>(request.groups.size()) < kMaxDispatches &&
             request.losses < kMaxLosses && !absl::IsCancelled(error)) {
    next = ChooseFor(request);
  }
  LOG(INFO) << "request " << request.name << " leaves worker group " << left.address << " ("
            << MoveReasonName(reason) << ") "
            << (next.ok() ? absl::StrCat("for ", Find(*next).address) : "and finds no other")
            << ": " << error;
  if (!next.ok()) {
    outcome->deliveries.push_back({.sink = std::move(request.sink), .error = failure});
    requests_.erase(found);
    return;
  }
  // A copy, because another thread may still be sending the old one.
  EngineRequest content = *request.content;
  content.time_left = request.deadline - now;
  request.content = std::make_shared<const EngineRequest>(std::move(content));
  outcome->sendings.push_back(Assign(request, *next));
  outcome->moves.push_back(reason);
}

void GroupRegistry::CarryOut(const Outcome& outcome, GroupSession* session) {
  for (const uint64_t id : outcome.abandoned) session->Cancel(id);
  for (const MoveReason reason : outcome.moves) {
    if (options_.on_move) options_.on_move(reason);
  }
  for (const Sending& sending : outcome.sendings) Send(sending);
  for (const Delivery& delivery : outcome.deliveries) {
    // Whatever else an event with an error holds is not delivered.
    if (!delivery.error.ok()) {
      delivery.sink->OnFailed(delivery.error);
      continue;
    }
    const EngineEvent& event = *delivery.event;
    if (delivery.accepted) delivery.sink->OnAccepted();
    if (delivery.started) delivery.sink->OnStarted();
    // Not only at the first start: what counts is the group that answers in the end.
    if (event.started) delivery.sink->OnCachedTokens(event.cached_tokens);
    if (!event.log_probs.empty()) delivery.sink->OnLogProbs(event.log_probs);
    if (!event.token_ids.empty()) {
      if (event.drafted_tokens > 0) {
        delivery.sink->OnDraft(event.drafted_tokens, event.accepted_tokens);
      }
      delivery.sink->OnTokens(event.token_ids, event.token_log_probs);
    }
    if (!event.finished.has_value()) continue;
    // The group that answered does not know of the time that the request spent with others.
    EngineFinish finish = *event.finished;
    finish.queue += delivery.moved;
    delivery.sink->OnFinished(finish);
  }
}

void GroupRegistry::SessionEnded(GroupId group, const absl::Status& reason) {
  Outcome outcome;
  Change(group, [&](Group& entry) EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    entry.session = nullptr;
    entry.greeted = false;
    entry.healthy = false;
    // All its requests leave, so they are not settled one by one.
    entry.outstanding = 0;
    entry.pending_prompt_tokens = 0;
    entry.others = 0;
    for (auto it = requests_.begin(); it != requests_.end();) {
      // Advanced first, because Lose may erase the request.
      const auto current = it++;
      if (current->second.group() == group) Lose(current, reason, &outcome);
    }
  });
  CarryOut(outcome, nullptr);
}

void GroupRegistry::Lose(RequestMap::iterator found, const absl::Status& reason, Outcome* outcome) {
  if (found->second.content != nullptr) {
    return MoveOrFail(found, MoveReason::kLost, reason, outcome);
  }
  outcome->deliveries.push_back(
      {.sink = std::move(found->second.sink), .error = ForThePublic(reason)});
  requests_.erase(found);
}

void GroupRegistry::Settle(Request& request) {
  Group& group = Find(request.group());
  --group.outstanding;
  group.pending_prompt_tokens -= request.pending_prompt_tokens;
}

GroupCandidate GroupRegistry::Describe(const Group& group) const {
  const absl::Time now = clock_->Now();
  const bool fresh = now - group.reported_at <= kLoadReportLifetime;
  return {.requests = group.outstanding + (fresh ? group.others : 0),
          .pending_prompt_tokens = group.pending_prompt_tokens,
          .dispatched = group.dispatched,
          .refused_lately = now - group.refused_at < kRefusalMemory};
}

}  // namespace phalanx
