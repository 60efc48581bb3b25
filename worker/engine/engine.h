// The engine of a worker group: takes requests from many threads, runs them all in one loop.
//
//   Engine engine(options, &executor, MonotonicClock(), &metrics);
//   std::thread loop([&] { status = engine.Run(); });
//   absl::StatusOr<std::unique_ptr<EngineSession>> session = engine.OpenSession(&sink);
//   (*session)->Submit(RequestId{1}, request);   // events arrive at sink, from the loop's thread
//   ...
//   engine.Drain(absl::Seconds(30));
//   engine.Stop();
//   loop.join();
#ifndef PHALANX_WORKER_ENGINE_ENGINE_H_
#define PHALANX_WORKER_ENGINE_ENGINE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "worker/constraint/constraint_compiler.h"
#include "worker/engine/engine_metrics.h"
#include "worker/engine/engine_state.h"
#include "worker/engine/event_sink.h"
#include "worker/engine/repetition_detector.h"
#include "worker/engine/request.h"
#include "worker/engine/scheduler.h"
#include "worker/engine/session_state.h"
#include "worker/engine/step_executor.h"
#include "worker/engine/step_record.h"
#include "worker/engine/turn_events.h"
#include "worker/step/step.h"

namespace phalanx {

class Engine;

// The requests of one caller. Thread-safe. Destroying it cancels them; no call to the sink is
// running or follows once the destructor has returned. The thread that destroys it must not hold a
// lock that the sink takes: the destructor waits for a call to the sink that is running.
class EngineSession {
 public:
  ~EngineSession();
  EngineSession(const EngineSession&) = delete;
  EngineSession& operator=(const EngineSession&) = delete;

  // Takes a request in; its events go to the sink. Does not block. A request that is refused has no
  // events. Errors: INVALID_ARGUMENT naming the field, also for an id in use or a request that the
  // KV cache could never hold; DEADLINE_EXCEEDED if its timeout is not positive; RESOURCE_EXHAUSTED
  // when as much waits as Options allows, with a note of when to try again (base/retry_after.h);
  // UNAVAILABLE when the engine drains or has ended.
  absl::Status Submit(RequestId id, GenerationRequest request);

  // Ends a request. Events that are on their way to the sink still reach it, but none is made to
  // tell of the end. Ignored if no request of that id is live. Does not block.
  void Cancel(RequestId id);

  // Cancels every request of this session. Does not block.
  void CancelAll();

 private:
  friend class Engine;
  EngineSession(Engine* engine, std::shared_ptr<SessionState> state);

  Engine* const engine_;
  const std::shared_ptr<SessionState> state_;
};

// Thread-safe, but for Run and RunOnce: one thread at a time calls these, the engine thread.
class Engine {
 public:
  struct Options {
    // The scheduler gives out limits.kv_blocks blocks. max_step_tokens must be at least max_seqs.
    StepLimits limits;
    EngineRequestLimits request_limits;
    // Requests that may wait to run.
    int max_waiting = 256;
    // The prompt tokens that they may have together. One request may wait in any case.
    int64_t max_waiting_tokens = int64_t{1} << 18;
    // Whether requests share what has been computed for prompts that begin alike.
    bool prefix_cache = true;
  };

  // `executor`, `clock` and `metrics` are lent and must outlive the engine. The executor is called
  // by the engine thread only. Without `constraints`, requests that have a constraint are refused.
  Engine(const Options& options, StepExecutor* executor, const Clock* clock, EngineMetrics* metrics,
         std::unique_ptr<ConstraintCompiler> constraints = nullptr);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  // Run must have returned and all sessions must be gone.
  ~Engine();

  // `sink` is lent until the session's destructor returns. UNAVAILABLE after the engine has ended.
  absl::StatusOr<std::unique_ptr<EngineSession>> OpenSession(EventSink* sink);

  // The loop; sleeps while there are no requests. Returns when the engine has ended: OK after Stop,
  // else the status that it failed with. By then every request that was not cancelled has had its
  // last event.
  absl::Status Run();

  // One turn of the loop without sleeping, for tests: takes in what was submitted and cancelled,
  // submits steps until as many are in flight as may be, awaits one, calls the sinks. False once
  // the engine has ended.
  bool RunOnce();

  // Refuses requests from now on and lets the others finish. Blocks until the sinks have had the
  // last event of each (true) or `timeout` has passed (false).
  bool Drain(absl::Duration timeout);

  // Ends the engine after the current step: all requests end with UNAVAILABLE, and the results of
  // steps that are still in flight are dropped. Does not block.
  void Stop();

  // Ends the engine as if the executor had failed with `status`, which must not be OK: for faults
  // that are seen while no step runs. All requests end with `status`. Does not block. If Stop, Fail
  // and a failing executor come together, only the first has an effect.
  void Fail(const absl::Status& status);

  // Has the engine submit no more steps, and forget those in flight, so that the executor can be
  // changed. Requests stay, and may come, be cancelled and run into their deadlines meanwhile. When
  // they go on, everything is computed anew. A failure of an executor that recovers has the same
  // effect. Blocks until the engine thread has left the executor: true, also if the engine has
  // ended. False after `timeout`.
  bool Pause(absl::Duration timeout);

  // Lets steps be submitted again. To be called after Pause has returned true.
  void Resume();

  EngineLoad load() const;

  // How long no step has ended although there are requests: the time since the last step or, if
  // that is later, since a request came to an idle engine. Zero while there are no requests. Any
  // thread may ask, also while a step hangs.
  absl::Duration step_age() const;

  // Has the engine thread call `on_state` once with what it does, and with its oldest requests, not
  // more than `max_requests`: between two steps, or soon if none runs. The call comes even when the
  // engine ends before that. `on_state` must not block. Does not block. RESOURCE_EXHAUSTED if
  // kMaxWaitingDumps others are waiting for a step to end, UNAVAILABLE when the engine is ending;
  // `on_state` is not called then.
  absl::Status DumpState(int max_requests, std::function<void(const EngineState&)> on_state);
  static constexpr int kMaxWaitingDumps = 8;

 private:
  friend class EngineSession;

  struct Dump {
    int max_requests = 0;
    std::function<void(const EngineState&)> on_state;
  };
  struct Submission {
    std::shared_ptr<SessionState> session;
    RequestId id;
    SequenceId sequence;
    GenerationRequest request;
    absl::Time submitted;
    std::unique_ptr<TokenRules> rules = nullptr;
  };
  struct Cancellation {
    SequenceId sequence;
  };
  // What the rules of a request need is there, or it was refused with `status`.
  struct Compilation {
    SequenceId sequence;
    absl::Status status;
    // Null without a constraint.
    std::unique_ptr<Constraint> constraint = nullptr;
    std::shared_ptr<const ConstraintVocabulary> vocabulary = nullptr;
  };
  using Command = std::variant<Submission, Cancellation, Compilation>;

  // A request that the scheduler knows, or whose rules are being compiled.
  struct Request {
    std::shared_ptr<SessionState> session;
    RequestId id;
    int32_t prompt_tokens = 0;
    // Tokens that are still to be generated, and to be scored.
    int32_t tokens_left = 0;
    int32_t scores_left = 0;
    bool score = false;
    // Whether it is told how likely tokens were.
    bool log_probs = false;
    std::optional<RepetitionDetector> repetition = std::nullopt;
    // Tokens that have been generated.
    int32_t generated = 0;
    std::vector<int32_t> eos_token_ids;
    absl::Time submitted;
    absl::Time deadline;
    // When the first step that works on it began.
    std::optional<absl::Time> started = std::nullopt;
    std::optional<absl::Time> first_token = std::nullopt;
    // How many tokens of the prompt the prefix cache had then.
    int32_t cached_tokens = 0;
    // How many of its steps in a row were lost. Any result of its own ends the row.
    int lost_steps = 0;
    // Whether an event has told the session that the request has started.
    bool start_told = false;
    // Tokens after the first are told at least so many at a time. Until then they wait in untold,
    // with what an event has beside them; nothing else of it is used.
    int32_t stream_interval = 1;
    RequestEvent untold = {};
    // Set while its rules are being compiled: the scheduler does not know it.
    std::unique_ptr<Submission> compiling = nullptr;
    // Of its constraint, owned by the scheduler's sequence; null without one.
    const TokenFilter* filter = nullptr;
  };

  // A step that was submitted, without the step itself: the executor has it.
  struct StepInFlight {
    StepPlan plan;
    int num_tokens = 0;
    // Once its sampling has been submitted.
    size_t num_draws = 0;
    size_t num_scores = 0;
    absl::Time submitted;

    void CountRows() {
      num_draws = static_cast<size_t>(plan.step.sampling.counts().num_logit_rows);
      num_scores = static_cast<size_t>(plan.step.sampling.counts().num_score_rows);
    }
  };

  // kOpen -> kDraining (Drain) -> kEnding (Stop, Fail) -> kEnded (engine thread); kOpen -> kEnding.
  enum class Phase { kOpen, kDraining, kEnding, kEnded };
  // kNo -> kWanted (Pause) -> kYes (engine thread) -> kNo (Resume); kNo -> kYes (engine thread).
  enum class Paused { kNo, kWanted, kYes };

  // Any thread may call Submit, CheckRequest, CheckRoom, Cancel, CancelAll, CancelAllLocked,
  // CloseSession and End. All other private methods are for the engine thread alone.
  absl::Status Submit(const std::shared_ptr<SessionState>& session, RequestId id,
                      GenerationRequest request);
  absl::Status CheckRequest(const GenerationRequest& request) const;
  // Makes what the rules of a request need: its constraint, or without one the vocabulary.
  void Compile(SequenceId sequence, std::optional<ConstraintSource> source);
  absl::Status CheckRoom(const SessionState& session, RequestId id, int64_t prompt_tokens) const
      EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status QueueFull(absl::string_view limit) const EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Cancel(SessionState& session, RequestId id);
  void CancelAll(SessionState& session);
  void CancelAllLocked(SessionState& session) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CloseSession(const std::shared_ptr<SessionState>& session);
  void End(const absl::Status& request_status, const absl::Status& result);

  void WaitForWork();
  // Applies what was submitted and cancelled. Returns false if the engine is to end.
  bool TakeCommands();
  void Apply(Submission submission);
  void Apply(const Cancellation& cancellation);
  void Apply(Compilation compilation);
  // Makes the rules of a request from what they need.
  absl::Status MakeRules(Compilation compilation, Request& request, Submission& submission);
  // Hands a request to the scheduler.
  void Add(Submission submission);
  void ExpireDeadlines();
  // Ends those that cannot have their first token in time.
  void RefuseLate(const StepPlan& plan, absl::Time now);
  // Submits steps, answers DumpState, awaits a step.
  absl::Status Advance();
  absl::Status SubmitSteps();
  absl::Status SubmitStep(StepPlan plan, absl::Time now);
  // Makes and submits the sampling of the step that is to be awaited next, if it has none: then it
  // is the only one in flight, and all before it is known.
  absl::Status SubmitSampling();
  absl::Status AwaitStep();
  // Deals with an error of Advance. Returns whether the engine goes on.
  bool Survives(const absl::Status& failure);
  bool PauseIsWanted() const;
  // Forgets the steps in flight and has all requests wait.
  void BeginPause();
  // Notes that a step was lost, and ends the requests that have lost too many.
  void NoteLostStep(const StepPlan& plan);
  void DropSteps();
  void MarkStarted(const StepPlan& plan, absl::Time now);
  void ApplyResult(const StepPlan& plan, const StepResult& result, absl::Time now);
  // Applies what was drawn for a chunk, from result.tokens[first] on.
  void ApplyDraws(const PlannedChunk& chunk, const StepResult& result, size_t first,
                  absl::Time now);
  // `log_probs` is null if the step told none.
  void ApplyToken(SequenceId sequence, int32_t token, const DrawnLogProbs* log_probs,
                  absl::Time now);
  void ApplyScores(SequenceId sequence, absl::Span<const float> log_probs, absl::Time now);
  // Ends a request whose rules cannot be kept, or cannot be made.
  void EndUnruled(SequenceId sequence, const absl::Status& status);
  // Ends a request with INTERNAL because its logits are not numbers.
  void EndWithoutNumbers(SequenceId sequence);
  // The request's event of this turn of the loop, made if it has none yet.
  RequestEvent& AddEvent(const Request& request);
  // Where the next token is noted: in an event of this turn, or among those that wait.
  RequestEvent& EventOfNextToken(Request& request);
  // Moves the tokens that wait, if there are any, to an event of this turn.
  void TellTokens(Request& request);
  // Frees all that the engine and the scheduler keep of a request, and counts it under `code`. Its
  // last event, if it has one, must have been added. What has been computed for it stays in the
  // prefix cache if it is `sound`.
  void EndRequest(SequenceId sequence, absl::StatusCode code, bool sound = true);
  // Ends every request with request_status_.
  void EndAllRequests();
  EngineLoad UpdateLoad();
  // Answers what DumpState has asked for.
  void AnswerDumps();
  EngineState State(int max_requests) const;
  // Gives the sinks the events of this turn.
  void PublishEvents();
  // Tells the sinks that the engine has ended.
  void EndSessions();

  const Options options_;
  StepExecutor* const executor_;
  const Clock* const clock_;
  EngineMetrics* const metrics_;

  // Only the engine thread uses what follows, down to mutex_, so no lock guards it.
  Scheduler scheduler_;
  // Oldest first.
  std::deque<StepInFlight> in_flight_;
  absl::Time last_step_end_ = absl::InfinitePast();
  StepRecord step_record_;
  absl::flat_hash_map<SequenceId, Request> requests_;
  // How many of them have rules that are being compiled.
  size_t compiling_ = 0;
  std::set<std::pair<absl::Time, SequenceId>> deadlines_;
  // Whether the log already says that logits were not numbers.
  bool told_of_bad_logits_ = false;
  // Prompt tokens that have come to the scheduler since the load was told.
  int64_t added_tokens_ = 0;
  // What the scheduler had waiting then.
  int64_t waiting_tokens_told_ = 0;
  // Evictions that the metric has counted.
  int64_t evictions_told_ = 0;
  TurnEvents events_;

  mutable Mutex mutex_;
  // Signalled when a command comes or the engine is to end.
  CondVar wake_;
  // Signalled when the last request has ended and its sink knows.
  CondVar idle_;
  Phase phase_ GUARDED_BY(mutex_) = Phase::kOpen;
  Paused paused_ GUARDED_BY(mutex_) = Paused::kNo;
  // Signalled when paused_ becomes kYes, or the engine has ended.
  CondVar pause_changed_;
  // Set when the phase becomes kEnding: what all requests then end with, and what Run returns.
  absl::Status request_status_ GUARDED_BY(mutex_);
  absl::Status result_ GUARDED_BY(mutex_);
  std::vector<Command> commands_ GUARDED_BY(mutex_);
  std::vector<Dump> dumps_ GUARDED_BY(mutex_);
  absl::flat_hash_set<std::shared_ptr<SessionState>> sessions_ GUARDED_BY(mutex_);
  uint64_t next_sequence_ GUARDED_BY(mutex_) = 0;
  // Requests that were submitted and have not ended.
  int live_requests_ GUARDED_BY(mutex_) = 0;
  // Requests that have ended in this turn of the loop, of which their sinks may not know yet.
  int unpublished_ends_ GUARDED_BY(mutex_) = 0;
  // When the last step ended, or the first request came to an idle engine.
  absl::Time last_progress_ GUARDED_BY(mutex_) = absl::InfiniteFuture();
  int running_requests_ GUARDED_BY(mutex_) = 0;
  int used_kv_blocks_ GUARDED_BY(mutex_) = 0;
  // Tokens of the requests that wait, in the scheduler or among the commands.
  int64_t waiting_tokens_ GUARDED_BY(mutex_) = 0;
  // At which prompts are computed; 0 while that is not known.
  double tokens_per_second_ GUARDED_BY(mutex_) = 0;

  // May be null. The last member: it is destroyed first, since its thread calls the engine.
  const std::unique_ptr<ConstraintCompiler> constraints_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_ENGINE_H_
