// The worker groups that are known, and the requests that they are working on.
#ifndef PHALANX_COORDINATOR_ROUTING_GROUP_REGISTRY_H_
#define PHALANX_COORDINATOR_ROUTING_GROUP_REGISTRY_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "coordinator/routing/choose_group.h"
#include "coordinator/routing/group_session.h"

namespace phalanx {

// Identifies a group within this process. Never used again.
enum class GroupId : uint64_t {};

enum class GroupState {
  kConnecting,  // No session, or one that has not said Hello.
  kNotServing,  // Connected; its health is not SERVING, or it has left the service.
  kRefused,     // It serves another model, or other weights than the groups before it.
  kServing,     // Takes requests.
};

inline constexpr int kNumGroupStates = 4;

// Why a request went from one group to another.
enum class MoveReason {
  kQueueFull,  // The group refused it: as many wait as may.
  kDraining,   // The group refused it: it takes nothing new.
  kLost,       // The group was lost before it sent anything of the answer.
};

inline constexpr int kNumMoveReasons = 3;

// "queue_full", "draining", "lost".
absl::string_view MoveReasonName(MoveReason reason);

// "connecting", "not_serving", ...: as in logs and metric labels.
absl::string_view GroupStateName(GroupState state);

// One instance per process: connections report what they see of their group, requests are sent
// through Submit. A request that its group refuses, or whose group is lost before it sent a token
// or a score, goes to another group, at most kMaxDispatches in all and never to the same one twice;
// its sink does not notice. Only when none is left does the sink hear a failure, which names no
// group: it is for the public; the log has the rest.
//
// Knows no transport. Thread-safe. Calls sinks, sessions, `on_change` and `on_move` without holding
// a lock, and sinks never from within Submit or Cancel.
class GroupRegistry {
 public:
  struct Options {
    // What a group must serve.
    std::string model_fingerprint = "";
    int vocab = 0;
    // Called for each request that moves; may be null.
    std::function<void(MoveReason)> on_move = nullptr;
  };

  // Groups that one request is sent to, at most.
  static constexpr int kMaxDispatches = 5;
  // How many of them may have been lost: the request itself may be what ends them.
  static constexpr int kMaxLosses = 3;
  // Others come first for so long after a group refused a request.
  static constexpr absl::Duration kRefusalMemory = absl::Seconds(1);

  // `clock` must outlive the object. `on_change` is called after any group changed its state, on
  // the thread that brought the change; it may call the const methods.
  GroupRegistry(Options options, const Clock* clock, std::function<void()> on_change);
  GroupRegistry(const GroupRegistry&) = delete;
  GroupRegistry& operator=(const GroupRegistry&) = delete;
  ~GroupRegistry();

  // --- For whoever keeps the list of groups. ---

  // `address` is for messages.
  GroupId Add(const std::string& address);
  // A retired group finishes what it has and takes nothing new.
  void SetRetired(GroupId group, bool retired);
  // Requests given to the group and not done.
  int OutstandingRequests(GroupId group) const;
  // The group must have no session.
  void Remove(GroupId group);

  // --- For the group's connection; its calls for one group come one at a time. ---

  void SessionStarted(GroupId group, std::shared_ptr<GroupSession> session);
  // FAILED_PRECONDITION if the group serves another model, or has other weights than a group that
  // is on the list, not retired, and was let in the last time it said Hello, even if that one is
  // gone now: one service gives one answer. The connection should then end. So a list of groups
  // changes its weights as its last group with the old ones does.
  absl::Status HelloReceived(GroupId group, const GroupHello& hello);
  // What the health service of the group says. False until the first call of a session.
  void HealthChanged(GroupId group, bool serving);
  // Hands events to the sinks. Events of unknown requests are dropped; impossible ones (token ids
  // outside the vocabulary, log-probabilities that are none, scores that were not asked for) fail
  // their request with INTERNAL.
  void StepReceived(GroupId group, absl::Span<const EngineEvent> events, const GroupLoad& load);
  // Moves the group's requests to others, or fails them with UNAVAILABLE; only fails them if
  // `reason` is CANCELLED: this coordinator has ended the session itself.
  void SessionEnded(GroupId group, const absl::Status& reason);

  // --- For requests. ---

  // Sends the request to the least loaded group whose context it fits, and returns the id by which
  // it can be cancelled. UNAVAILABLE if no group takes requests, INVALID_ARGUMENT if those that do
  // have too small a context; `sink` is then not called.
  absl::StatusOr<uint64_t> Submit(EngineRequest request, std::shared_ptr<GenerationSink> sink);
  // Unknown and finished requests are ignored. The sink is let go and hears no end.
  void Cancel(uint64_t request_id);

  int CountGroups(GroupState state) const;
  // The largest context of the groups that take requests; 0 with none.
  int ServingContextTokens() const;
  // Of the groups that take requests, see model/checkpoint/weights_digest.h; empty with none.
  std::string ServingWeightsDigest() const;

 private:
  struct Group {
    std::string address;
    std::shared_ptr<GroupSession> session;
    GroupState state() const;
    bool retired = false;
    bool greeted = false;
    bool refused = false;
    bool healthy = false;
    int context_tokens = 0;
    // Of its last Hello, if that was accepted; outlives the session.
    std::optional<std::string> weights_digest;
    int outstanding = 0;
    int64_t pending_prompt_tokens = 0;
    int64_t dispatched = 0;
    absl::Time refused_at = absl::InfinitePast();
    // Requests of other coordinators that the group had by its last report.
    int others = 0;
    absl::Time reported_at = absl::InfinitePast();
  };

  struct Request {
    std::shared_ptr<GenerationSink> sink;
    // As it was sent last. Null once the first token, or score, came: from there it cannot move.
    std::shared_ptr<const EngineRequest> content;
    std::string name;
    absl::Time deadline;
    absl::Time submitted_at;
    // When it was sent to the group that it is with.
    absl::Time sent_at;
    // Groups that it was sent to, in this order; it is with the last.
    std::vector<GroupId> groups;
    int losses = 0;
    // 0 once the first token, or score, came.
    int64_t pending_prompt_tokens = 0;
    bool score = false;
    // The group that it is with has taken it in.
    bool accepted = false;
    // The sink has heard of an acceptance.
    bool acceptance_told = false;
    // The sink has heard that a group works on it.
    bool start_told = false;

    GroupId group() const { return groups.back(); }
  };

  using RequestMap = absl::flat_hash_map<uint64_t, Request>;

  // What is to be done once the lock is free.
  struct Sending {
    std::shared_ptr<GroupSession> session;
    std::shared_ptr<const EngineRequest> content;
    GroupId group = {};
  };
  struct Delivery {
    std::shared_ptr<GenerationSink> sink;
    // Null for a request whose session has ended.
    const EngineEvent* event = nullptr;
    bool accepted = false;
    bool started = false;
    // Time from the submission until the request was sent to the group that answers.
    absl::Duration moved = absl::ZeroDuration();
    absl::Status error = absl::OkStatus();
  };
  struct Outcome {
    std::vector<Delivery> deliveries;
    std::vector<Sending> sendings;
    std::vector<MoveReason> moves;
    // Requests that the group of the events is to forget.
    std::vector<uint64_t> abandoned;
  };

  // Which groups could take the request, and the best of them. UNAVAILABLE or INVALID_ARGUMENT as
  // Submit.
  absl::StatusOr<GroupId> ChooseFor(const Request& request) const EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Books the request, which has `content`, with `group`.
  Sending Assign(Request& request, GroupId group) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Without the lock. A request that was cancelled meanwhile is cancelled there too.
  void Send(const Sending& sending);

  void Apply(GroupId group, const EngineEvent& event, Outcome* outcome)
      EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What `error` means for a request that has sent nothing yet; nullopt if another group would say
  // the same.
  static std::optional<MoveReason> ReasonToMove(const Request& request, const absl::Status& error);
  // Sends the request, which its group has no more, to another one; else ends it with `error`,
  // which may name the group.
  void MoveOrFail(RequestMap::iterator request, MoveReason reason, const absl::Status& error,
                  Outcome* outcome) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // As its session ended for `reason`; the group's own counts are zero already.
  void Lose(RequestMap::iterator request, const absl::Status& reason, Outcome* outcome)
      EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // `session` is where to abandon requests; may be null if there are none.
  void CarryOut(const Outcome& outcome, GroupSession* session);

  absl::Status CheckHello(GroupId group, const GroupHello& hello) const
      EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Group& Find(GroupId group) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes the request out of its group's counts.
  void Settle(Request& request) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  GroupCandidate Describe(const Group& group) const EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Applies `change` to the group and reports it if the state is another one afterwards.
  void Change(GroupId group, const std::function<void(Group&)>& change);

  const Options options_;
  const Clock* const clock_;
  const std::function<void()> on_change_;

  mutable Mutex mutex_;
  // Ordered, so that equal groups take turns in a fixed order.
  std::map<GroupId, Group> groups_ GUARDED_BY(mutex_);
  RequestMap requests_ GUARDED_BY(mutex_);
  uint64_t next_group_ GUARDED_BY(mutex_) = 1;
  uint64_t next_request_ GUARDED_BY(mutex_) = 1;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ROUTING_GROUP_REGISTRY_H_
