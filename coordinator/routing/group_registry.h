// The worker groups that are known, and the requests that they are working on.
#ifndef PHALANX_COORDINATOR_ROUTING_GROUP_REGISTRY_H_
#define PHALANX_COORDINATOR_ROUTING_GROUP_REGISTRY_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "coordinator/routing/check_event.h"
#include "coordinator/routing/choose_group.h"
#include "coordinator/routing/group_session.h"

namespace phalanx {

// Identifies a group within this process. Ids are never used again.
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

// The reason as in logs and metric labels: "queue_full", "draining" or "lost".
absl::string_view MoveReasonName(MoveReason reason);

// The state as in logs and metric labels: "connecting", "not_serving", ...
absl::string_view GroupStateName(GroupState state);

// One instance per process. Connections report what they see of their group, and requests are sent
// through Submit. A request that its group refuses, or whose group is lost before it sent a token
// or a score, goes to another group: to kMaxDispatches groups at most, and never to one twice. Its
// sink does not notice. Only when no group is left does the sink hear of a failure. That names no
// group, because clients see it; the log has the details.
//
// Knows nothing of gRPC. Thread-safe. Calls sinks, sessions, `on_change` and `on_move` without
// holding a lock, and sinks never from within Submit or Cancel.
class GroupRegistry {
 public:
  struct Options {
    // The model that a group must serve, and the size of its vocabulary.
    std::string model_fingerprint = "";
    int vocab = 0;
    // Called for each request that moves; may be null.
    std::function<void(MoveReason)> on_move = nullptr;
  };

  // Limit on the groups that one request is sent to.
  static constexpr int kMaxDispatches = 5;
  // Limit on how many of them are lost, because the request itself may be what ends them.
  static constexpr int kMaxLosses = 3;
  // How long a group that refused a request comes after all others.
  static constexpr absl::Duration kRefusalMemory = absl::Seconds(1);

  // `clock` must outlive the object. `on_change` is called after any group changed its state, on
  // the thread that brought the change; it may call the const methods.
  GroupRegistry(Options options, const Clock* clock, std::function<void()> on_change);
  GroupRegistry(const GroupRegistry&) = delete;
  GroupRegistry& operator=(const GroupRegistry&) = delete;
  ~GroupRegistry();

  // Add, SetRetired, OutstandingRequests and Remove are for whoever keeps the list of groups.

  // Adds a group, which is kConnecting. `address` is for messages.
  GroupId Add(const std::string& address);
  // A retired group gets no new requests, and goes on with those that it has.
  void SetRetired(GroupId group, bool retired);
  // The number of requests that were given to the group and have not ended.
  int OutstandingRequests(GroupId group) const;
  // Forgets a group, which must have no session.
  void Remove(GroupId group);

  // SessionStarted, HelloReceived, HealthChanged, StepReceived and SessionEnded are for the group's
  // connection, which makes its calls one at a time.

  void SessionStarted(GroupId group, std::shared_ptr<GroupSession> session);
  // FAILED_PRECONDITION if the group serves another model, or has other weights than another group.
  // That other group counts if it is on the list, is not retired, and was accepted the last time it
  // said Hello, even if it is gone now: one service must give one answer. After an error the
  // connection should end. So the weights of a list of groups change when the last group with the
  // old ones changes.
  absl::Status HelloReceived(GroupId group, const GroupHello& hello);
  // What the health service of the group says. Taken as false until the first call of a session.
  void HealthChanged(GroupId group, bool serving);
  // Hands events to the sinks. Events of unknown requests are dropped. Events that make no sense
  // (see check_event.h) fail their request with INTERNAL.
  void StepReceived(GroupId group, absl::Span<const EngineEvent> events, const GroupLoad& load);
  // Moves the group's requests to others, or fails them with UNAVAILABLE. If `reason` is CANCELLED,
  // this coordinator has ended the session itself, and all of them fail.
  void SessionEnded(GroupId group, const absl::Status& reason);

  // Submit, SubmitAll and Cancel are for requests.

  // Sends the request to the least loaded group whose context it fits and that has the features
  // that it needs (model/generation/engine_features.h), and returns the id by which it can be
  // cancelled. UNAVAILABLE if no group takes requests, UNIMPLEMENTED if none of those that do has
  // these features, INVALID_ARGUMENT if those that have them have too small a context; `sink` is
  // then not called.
  absl::StatusOr<uint64_t> Submit(EngineRequest request, std::shared_ptr<GenerationSink> sink);
  // The same for requests with equal prompts and lengths, which all go to one group, where they can
  // share what is computed of the prompt. There is a sink for each. After that each goes its own
  // way: those that the group refuses move to others. Returns their ids, in order.
  absl::StatusOr<std::vector<uint64_t>> SubmitAll(
      std::vector<EngineRequest> requests, std::vector<std::shared_ptr<GenerationSink>> sinks);
  // Ignores requests that are unknown or have ended. The sink is released and not told.
  void Cancel(uint64_t request_id);

  int CountGroups(GroupState state) const;
  // The largest context of the groups that take requests; 0 if none does.
  int ServingContextTokens() const;
  // The digest (model/checkpoint/weights_digest.h) of the weights of the groups that take requests;
  // empty if none does.
  std::string ServingWeightsDigest() const;
  // The weakest level of the groups that take requests; kUnknown if none does.
  Determinism ServingDeterminism() const;
  // What the groups that take requests compute with, each kind once, in order; those that do not
  // say are left out.
  std::vector<std::string> ServingArithmetic() const;
  // What at least one of the groups that take requests can do; nullopt if none takes requests.
  std::optional<std::set<std::string>> ServingFeatures() const;

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
    // The digest in its last Hello, if that was accepted. Stays after the session ends.
    std::optional<std::string> weights_digest;
    Determinism determinism = Determinism::kUnknown;
    std::string arithmetic;
    std::set<std::string> features;
    int outstanding = 0;
    int64_t pending_prompt_tokens = 0;
    int64_t dispatched = 0;
    absl::Time refused_at = absl::InfinitePast();
    // Requests of other coordinators that the group had by its last report, at reported_at.
    int others = 0;
    absl::Time reported_at = absl::InfinitePast();
  };

  struct Request {
    std::shared_ptr<GenerationSink> sink;
    // What was sent last. Null once the first token or score has come: after that the request
    // cannot move to another group.
    std::shared_ptr<const EngineRequest> content;
    std::string name;
    absl::Time deadline;
    absl::Time submitted_at;
    // When it was sent to the group that it is with.
    absl::Time sent_at;
    // The groups that it was sent to, in order. It is with the last one.
    std::vector<GroupId> groups;
    int losses = 0;
    // Its share of its group's pending_prompt_tokens: 0 once the first token or score has come.
    int64_t pending_prompt_tokens = 0;
    ExpectedEvents expected;
    // The group that it is with has accepted it.
    bool accepted = false;
    // The sink has been told that a group accepted it.
    bool acceptance_told = false;
    // The sink has been told that a group works on it.
    bool start_told = false;

    GroupId group() const { return groups.back(); }
  };

  using RequestMap = absl::flat_hash_map<uint64_t, Request>;

  // Sending, Delivery and Outcome keep what is to be done once the lock is released.
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
    // Requests that the group is to cancel, because what it said of them makes no sense.
    std::vector<uint64_t> abandoned;
  };

  // The best of the groups that could take the request. UNAVAILABLE, UNIMPLEMENTED or
  // INVALID_ARGUMENT as in Submit.
  absl::StatusOr<GroupId> ChooseFor(const Request& request) const EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Counts the request, whose content must not be null, as one of `group`.
  Sending Assign(Request& request, GroupId group) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Sends a request. To be called without the lock: if the request is cancelled meanwhile, it is
  // cancelled in its group too.
  void Send(const Sending& sending);

  void Apply(GroupId group, const EngineEvent& event, Outcome* outcome)
      EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Why a request that its group failed with `error` should move; nullopt if it cannot move or
  // another group would say the same.
  static std::optional<MoveReason> ReasonToMove(const Request& request, const absl::Status& error);
  // Assigns the request, which its group does not have any more, to another group. If there is
  // none, the request ends with `error`, which may name the group.
  void MoveOrFail(RequestMap::iterator request, MoveReason reason, const absl::Status& error,
                  Outcome* outcome) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Deals with a request whose session ended for `reason`. The counts of its group must be zero
  // already.
  void Lose(RequestMap::iterator request, const absl::Status& reason, Outcome* outcome)
      EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // `session` is where requests are cancelled; may be null if there are none to cancel.
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
  // Ordered by id, so that equal groups take turns in a fixed order.
  std::map<GroupId, Group> groups_ GUARDED_BY(mutex_);
  RequestMap requests_ GUARDED_BY(mutex_);
  uint64_t next_group_ GUARDED_BY(mutex_) = 1;
  uint64_t next_request_ GUARDED_BY(mutex_) = 1;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_ROUTING_GROUP_REGISTRY_H_
