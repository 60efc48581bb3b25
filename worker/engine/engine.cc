#include "worker/engine/engine.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "kernels/ops.h"
#include "kernels/sampling/sample.h"

namespace phalanx {

struct EngineSession::State {
  struct Live {
    SequenceId sequence;
    // A Cancellation is on its way to the engine thread, so that a second one is not needed.
    bool cancelled = false;
  };

  explicit State(EventSink* event_sink) : sink(event_sink) {}

  // Held while the sink is called, so that whoever sets `sink` to null knows that no call is
  // running. The sink may submit and cancel, which locks the engine's mutex: so this mutex is
  // always the first of the two, and is never taken by a thread that holds the engine's.
  Mutex sink_mutex;
  // Null once the session is gone.
  EventSink* sink GUARDED_BY(sink_mutex);
  // Requests that have not ended. Guarded by the engine's mutex, which this struct has no name for.
  absl::flat_hash_map<RequestId, Live> live;
};

EngineSession::EngineSession(Engine* engine, std::shared_ptr<State> state)
    : engine_(engine), state_(std::move(state)) {}

EngineSession::~EngineSession() { engine_->CloseSession(state_); }

absl::Status EngineSession::Submit(RequestId id, GenerationRequest request) {
  return engine_->Submit(state_, id, std::move(request));
}

void EngineSession::Cancel(RequestId id) { engine_->Cancel(*state_, id); }

void EngineSession::CancelAll() { engine_->CancelAll(*state_); }

Engine::Engine(const Options& options, StepExecutor* executor, const Clock* clock,
               EngineMetrics* metrics)
    : options_(options),
      executor_(executor),
      clock_(clock),
      metrics_(metrics),
      scheduler_(options.limits) {
  metrics_->kv_blocks_total.Set(options.limits.kv_blocks);
}

Engine::~Engine() {
  MutexLock lock(&mutex_);
  CHECK(sessions_.empty()) << "a session outlived its engine";
}

absl::StatusOr<std::unique_ptr<EngineSession>> Engine::OpenSession(EventSink* sink) {
  auto state = std::make_shared<SessionState>(sink);
  MutexLock lock(&mutex_);
  // The engine thread tells each session in sessions_ that the engine has ended, once. A session
  // that opens after that would wait for it in vain.
  if (phase_ >= Phase::kEnding) return absl::UnavailableError(request_status_.message());
  sessions_.insert(state);
  return std::unique_ptr<EngineSession>(new EngineSession(this, std::move(state)));
}

absl::Status Engine::CheckRequest(const GenerationRequest& request) const {
  RETURN_IF_ERROR(ValidateRequest(request, options_.request_limits));
  const int64_t num_tokens =
      static_cast<int64_t>(request.prompt_token_ids.size()) + request.max_new_tokens;
  if (!Scheduler::CanEverFit(options_.limits, num_tokens)) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt_token_ids and max_new_tokens (", num_tokens,
                     " tokens together) exceed the KV cache of ", options_.limits.kv_blocks,
                     " blocks of ", kernels::kKvBlockTokens, " tokens"));
  }
  if (request.timeout <= absl::ZeroDuration()) {
    return absl::DeadlineExceededError("the deadline had passed before the request came");
  }
  return absl::OkStatus();
}

absl::Status Engine::CheckRoom(const SessionState& session, RequestId id) const {
  if (phase_ == Phase::kDraining) return absl::UnavailableError("the worker is draining");
  if (phase_ != Phase::kOpen) return absl::UnavailableError(request_status_.message());
  if (session.live.contains(id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("request_id ", static_cast<uint64_t>(id), " is in use in this session"));
  }
  // running_requests_ was counted after the latest plan or step, so all that has come since counts
  // as waiting.
  if (live_requests_ - running_requests_ >= options_.max_waiting) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the worker group's queue is at its limit of ", options_.max_waiting,
                     options_.max_waiting == 1 ? " request" : " requests", " (--max_waiting)"));
  }
  return absl::OkStatus();
}

absl::Status Engine::Submit(const std::shared_ptr<SessionState>& session, RequestId id,
                            GenerationRequest request) {
  // The lock is not held here: this looks at every token of the prompt, and the engine thread would
  // have to wait.
  absl::Status status = CheckRequest(request);
  if (status.ok()) {
    MutexLock lock(&mutex_);
    status = CheckRoom(*session, id);
    if (status.ok()) {
      const SequenceId sequence{next_sequence_++};
      session->live.emplace(id, SessionState::Live{.sequence = sequence});
      commands_.push_back(Submission{session, id, sequence, std::move(request), clock_->Now()});
      // step_age() counts from here after an idle time, which no step is to blame for.
      if (live_requests_++ == 0) last_progress_ = clock_->Now();
      wake_.Signal();
    }
  }
  if (!status.ok()) metrics_->CountRequest(status.code());
  return status;
}

void Engine::Cancel(SessionState& session, RequestId id) {
  MutexLock lock(&mutex_);
  const auto it = session.live.find(id);
  if (it == session.live.end() || it->second.cancelled) return;
  // The request stays in `live` until the engine thread has ended it. So its id cannot be given to
  // another request while events of this one may still be made.
  it->second.cancelled = true;
  commands_.push_back(Cancellation{it->second.sequence});
  wake_.Signal();
}

void Engine::CancelAll(SessionState& session) {
  MutexLock lock(&mutex_);
  CancelAllLocked(session);
}

void Engine::CancelAllLocked(SessionState& session) {
  for (auto& [id, live] : session.live) {
    if (live.cancelled) continue;
    live.cancelled = true;
    commands_.push_back(Cancellation{live.sequence});
  }
  wake_.Signal();
}

void Engine::CloseSession(const std::shared_ptr<SessionState>& session) {
  // Waits for a call to the sink that is running. After it, no other can begin.
  {
    MutexLock lock(&session->sink_mutex);
    session->sink = nullptr;
  }
  MutexLock lock(&mutex_);
  // The requests end in the next turn of the loop. Until then they share the ownership of the
  // state; the EngineSession is about to be gone.
  sessions_.erase(session);
  CancelAllLocked(*session);
}

bool Engine::Drain(absl::Duration timeout) {
  const absl::Time deadline = clock_->Now() + timeout;
  MutexLock lock(&mutex_);
  if (phase_ == Phase::kOpen) phase_ = Phase::kDraining;
  // A request leaves live_requests_ before its last event is given to the sink. A caller that shut
  // the server down at that moment would lose the event.
  while (live_requests_ > 0 || unpublished_ends_ > 0) {
    const absl::Duration left = deadline - clock_->Now();
    if (left <= absl::ZeroDuration()) return false;
    idle_.WaitFor(&mutex_, left);
  }
  return true;
}

void Engine::Stop() {
  End(absl::UnavailableError("the worker is shutting down"), absl::OkStatus());
}

void Engine::Fail(const absl::Status& status) {
  CHECK(!status.ok());
  End(status, status);
}

void Engine::End(const absl::Status& request_status, const absl::Status& result) {
  MutexLock lock(&mutex_);
  if (phase_ >= Phase::kEnding) return;
  // Only the engine thread can end requests, so it is told to and woken.
  phase_ = Phase::kEnding;
  request_status_ = request_status;
  result_ = result;
  wake_.Signal();
}

EngineLoad Engine::load() const {
  MutexLock lock(&mutex_);
  return {.running_requests = running_requests_,
          .waiting_requests = live_requests_ - running_requests_,
          .used_kv_blocks = used_kv_blocks_};
}

absl::Duration Engine::step_age() const {
  MutexLock lock(&mutex_);
  return live_requests_ == 0 ? absl::ZeroDuration() : clock_->Now() - last_progress_;
}

absl::Status Engine::Run() {
  do {
    WaitForWork();
  } while (RunOnce());
  MutexLock lock(&mutex_);
  return result_;
}

// Deadlines are not waited for: while there are requests the loop does not sleep, it runs one step
// after the other and looks at deadlines before each.
void Engine::WaitForWork() {
  MutexLock lock(&mutex_);
  while (commands_.empty() && requests_.empty() && phase_ < Phase::kEnding) wake_.Wait(&mutex_);
}

bool Engine::RunOnce() {
  // What is cancelled or late ends before the step is planned: its blocks are free for this step.
  bool ending = !TakeCommands();
  if (!ending) {
    ExpireDeadlines();
    if (const absl::Status status = RunStep(); !status.ok()) {
      LOG(ERROR) << "a step failed, the engine ends: " << status;
      Fail(status);
      // Takes in what was submitted during the step, so that it ends with the other requests. It is
      // all that there will be: since Fail, Submit refuses.
      TakeCommands();
      ending = true;
    }
  }
  if (ending) EndAllRequests();
  PublishEvents();
  if (ending) EndSessions();
  return !ending;
}

bool Engine::TakeCommands() {
  std::vector<Command> commands;
  bool go_on;
  {
    MutexLock lock(&mutex_);
    // Both are read under one lock: if the engine is to end, these are the last commands. The lock
    // is not held while they are applied, because EndRequest takes it again.
    commands.swap(commands_);
    go_on = phase_ < Phase::kEnding;
  }
  for (Command& command : commands) {
    std::visit([this](auto& c) { Apply(std::move(c)); }, command);
  }
  return go_on;
}

void Engine::Apply(Submission submission) {
  GenerationRequest& request = submission.request;
  const auto prompt_tokens = static_cast<int32_t>(request.prompt_token_ids.size());
  const absl::Time deadline = submission.submitted + request.timeout;
  if (deadline != absl::InfiniteFuture()) deadlines_.emplace(deadline, submission.sequence);
  requests_.emplace(submission.sequence,
                    Request{.session = std::move(submission.session),
                            .id = submission.id,
                            .prompt_tokens = prompt_tokens,
                            .tokens_left = request.score ? static_cast<int32_t>(prompt_tokens - 1)
                                                         : request.max_new_tokens,
                            .score = request.score,
                            .eos_token_ids = std::move(request.eos_token_ids),
                            .submitted = submission.submitted,
                            .deadline = deadline});
  scheduler_.Add(
      submission.sequence,
      {.prompt_token_ids = std::move(request.prompt_token_ids),
       .sampling = request.sampling,
       .seed = request.seed,
       .rope = PlanRope(request.long_rope_policy, options_.request_limits.original_context_tokens,
                        prompt_tokens, request.max_new_tokens),
       .score = request.score});
}

void Engine::Apply(const Cancellation& cancellation) {
  // The last step may have finished the request after it was cancelled.
  if (requests_.contains(cancellation.sequence)) {
    EndRequest(cancellation.sequence, absl::StatusCode::kCancelled);
  }
}

void Engine::ExpireDeadlines() {
  const absl::Time now = clock_->Now();
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    const SequenceId sequence = deadlines_.begin()->second;
    AddEvent(requests_.at(sequence)).error =
        absl::DeadlineExceededError("the request's deadline has passed");
    // Also takes the sequence out of deadlines_, so that the loop comes to the next one.
    EndRequest(sequence, absl::StatusCode::kDeadlineExceeded);
  }
}

absl::Status Engine::RunStep() {
  if (scheduler_.empty()) return absl::OkStatus();
  const StepPlan plan = scheduler_.Plan();
  metrics_->preemptions_total.Increment(plan.preemptions);
  UpdateLoad();
  const absl::Time start = clock_->Now();
  MarkStarted(plan, start);
  ASSIGN_OR_RETURN(const StepResult result, executor_->Execute(plan.input));
  const absl::Time end = clock_->Now();
  metrics_->step_seconds.Observe(absl::ToDoubleSeconds(end - start));
  metrics_->step_tokens.Observe(plan.input.num_tokens());
  if (result.tokens.size() != plan.input.logit_rows.size() ||
      result.log_probs.size() != plan.input.score_rows.size()) {
    return absl::InternalError(absl::StrCat(
        "a step drew ", result.tokens.size(), " tokens and scored ", result.log_probs.size(),
        " instead of ", plan.input.logit_rows.size(), " and ", plan.input.score_rows.size()));
  }
  {
    MutexLock lock(&mutex_);
    last_progress_ = end;
  }
  // Commit comes first: ApplyResult removes sequences that end, and a plan has to be committed
  // before the scheduler's sequences change.
  scheduler_.Commit(plan, result.tokens);
  ApplyResult(plan, result, end);
  return absl::OkStatus();
}

void Engine::ApplyResult(const StepPlan& plan, const StepResult& result, absl::Time now) {
  // Results lie in the order of the chunks: one token for each chunk that draws, and num_scores
  // log-probabilities for each chunk.
  auto token = result.tokens.begin();
  absl::Span<const float> log_probs = result.log_probs;
  for (const PlannedChunk& chunk : plan.chunks) {
    Request& request = requests_.at(chunk.id);
    if (!std::exchange(request.start_told, true)) AddEvent(request).started = true;
    // Either may end the request: `request` is not to be used after this.
    if (chunk.draws) ApplyToken(chunk.id, *token++, now);
    if (chunk.num_scores > 0) ApplyScores(chunk.id, log_probs.first(chunk.num_scores), now);
    log_probs.remove_prefix(chunk.num_scores);
  }
}

void Engine::MarkStarted(const StepPlan& plan, absl::Time now) {
  for (const PlannedChunk& chunk : plan.chunks) {
    Request& request = requests_.at(chunk.id);
    if (!request.started) request.started = now;
  }
}

void Engine::EndWithoutNumbers(SequenceId sequence) {
  constexpr char kMessage[] =
      "the model produced logits that are not numbers (NaN or infinite): its weights are broken, "
      "or it does not bear this input";
  // Broken weights break every request, and a line for each would flood the log.
  if (!told_of_bad_logits_) {
    LOG(ERROR) << kMessage << "; this is said once, phalanx_engine_requests_total counts INTERNAL";
    told_of_bad_logits_ = true;
  }
  AddEvent(requests_.at(sequence)).error = absl::InternalError(kMessage);
  EndRequest(sequence, absl::StatusCode::kInternal);
}

void Engine::ApplyToken(SequenceId sequence, int32_t token, absl::Time now) {
  if (token == kernels::kNoToken) return EndWithoutNumbers(sequence);
  Request& request = requests_.at(sequence);
  RequestEvent& event = AddEvent(request);
  event.token_ids.push_back(token);
  --request.tokens_left;
  metrics_->generation_tokens_total.Increment();
  if (!request.first_token) {
    request.first_token = now;
    metrics_->prompt_tokens_total.Increment(request.prompt_tokens);
    metrics_->time_to_first_token_seconds.Observe(absl::ToDoubleSeconds(now - request.submitted));
  }
  // An end-of-sequence token that is also the last one allowed counts as kEos.
  const std::vector<int32_t>& eos = request.eos_token_ids;
  const bool is_eos = std::find(eos.begin(), eos.end(), token) != eos.end();
  if (!is_eos && request.tokens_left > 0) return;
  event.finished = {.reason = is_eos ? FinishReason::kEos : FinishReason::kLength,
                    .queue = *request.started - request.submitted,
                    .prefill = *request.first_token - *request.started,
                    .decode = now - *request.first_token};
  EndRequest(sequence, absl::StatusCode::kOk);
}

void Engine::ApplyScores(SequenceId sequence, absl::Span<const float> log_probs, absl::Time now) {
  const bool numbers = std::all_of(log_probs.begin(), log_probs.end(),
                                   [](float log_prob) { return std::isfinite(log_prob); });
  if (!numbers) return EndWithoutNumbers(sequence);
  Request& request = requests_.at(sequence);
  RequestEvent& event = AddEvent(request);
  event.log_probs.assign(log_probs.begin(), log_probs.end());
  request.tokens_left -= static_cast<int32_t>(log_probs.size());
  if (request.tokens_left > 0) return;
  metrics_->prompt_tokens_total.Increment(request.prompt_tokens);
  event.finished = {.reason = FinishReason::kScored,
                    .queue = *request.started - request.submitted,
                    .prefill = now - *request.started,
                    .decode = absl::ZeroDuration()};
  EndRequest(sequence, absl::StatusCode::kOk);
}

RequestEvent& Engine::AddEvent(const Request& request) {
  // All that one turn says of a request is said in a row, and goes into one event: if the request
  // has one already, it is the last.
  std::vector<RequestEvent>& events = events_[request.session];
  if (events.empty() || events.back().id != request.id) events.emplace_back().id = request.id;
  return events.back();
}

void Engine::EndRequest(SequenceId sequence, absl::StatusCode code) {
  const auto it = requests_.find(sequence);
  const Request& request = it->second;
  metrics_->CountRequest(code);
  scheduler_.Remove(sequence);
  deadlines_.erase({request.deadline, sequence});
  // From here the session may use the id again. The new request cannot get an event before the next
  // turn, when this one's are with the sink.
  {
    MutexLock lock(&mutex_);
    request.session->live.erase(request.id);
    --live_requests_;
    ++unpublished_ends_;
  }
  requests_.erase(it);
}

void Engine::EndAllRequests() {
  absl::Status status;
  {
    MutexLock lock(&mutex_);
    status = request_status_;
  }
  // A copy, because EndRequest erases from requests_. Sorted, so that requests end in the order in
  // which they came: the map has no order of its own.
  std::vector<SequenceId> sequences;
  for (const auto& [sequence, request] : requests_) sequences.push_back(sequence);
  std::sort(sequences.begin(), sequences.end());
  for (const SequenceId sequence : sequences) {
    AddEvent(requests_.at(sequence)).error = status;
    EndRequest(sequence, status.code());
  }
}

EngineLoad Engine::UpdateLoad() {
  {
    MutexLock lock(&mutex_);
    running_requests_ = scheduler_.running();
    used_kv_blocks_ = scheduler_.used_blocks();
  }
  const EngineLoad load = this->load();
  metrics_->requests_running.Set(load.running_requests);
  metrics_->requests_waiting.Set(load.waiting_requests);
  metrics_->kv_blocks_used.Set(load.used_kv_blocks);
  return load;
}

void Engine::PublishEvents() {
  const EngineLoad load = UpdateLoad();
  // The engine's mutex is not held here, so that sinks may submit and cancel. A session that has
  // been closed has no sink any more, and nobody wants its events.
  for (const auto& [session, events] : events_) {
    MutexLock lock(&session->sink_mutex);
    if (session->sink != nullptr) session->sink->OnStep(events, load);
  }
  events_.clear();
  MutexLock lock(&mutex_);
  unpublished_ends_ = 0;
  if (live_requests_ == 0) idle_.SignalAll();
}

void Engine::EndSessions() {
  std::vector<std::shared_ptr<SessionState>> sessions;
  absl::Status status;
  {
    MutexLock lock(&mutex_);
    if (phase_ == Phase::kEnded) return;
    phase_ = Phase::kEnded;
    // OpenSession has refused since the phase was kEnding, so no session is missing in this copy.
    sessions.assign(sessions_.begin(), sessions_.end());
    status = request_status_;
  }
  for (const std::shared_ptr<SessionState>& session : sessions) {
    MutexLock lock(&session->sink_mutex);
    if (session->sink != nullptr) session->sink->OnEngineEnded(status);
  }
}

}  // namespace phalanx
