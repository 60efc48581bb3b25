// What the engine thread does; what other threads may ask of the engine is in engine.cc.
#include <algorithm>
#include <cmath>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/log.h"
#include "base/status.h"
#include "kernels/sampling/sample.h"
#include "worker/engine/constraint_filter.h"
#include "worker/engine/engine.h"
#include "worker/engine/reasoning_budget.h"

namespace phalanx {
namespace {

// How exactly durations are told.
constexpr absl::Duration kShown = absl::Milliseconds(1);

// How many of the tokens that a step drew are of no use, once it is resolved.
int WrongGuesses(const StepPlan& plan) {
  int wrong = 0;
  for (const PlannedChunk& chunk : plan.chunks) wrong += chunk.num_drafted - chunk.num_accepted;
  return wrong;
}

}  // namespace

absl::Status Engine::Run() {
  do {
    WaitForWork();
  } while (RunOnce());
  MutexLock lock(&mutex_);
  return result_;
}

// Deadlines are not waited for while steps run: the loop does not sleep, it runs one step after the
// other and looks at deadlines before each. Only requests whose constraints are being compiled are
// waited for, and their deadlines.
void Engine::WaitForWork() {
  MutexLock lock(&mutex_);
  const auto sleeps = [this]() EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!commands_.empty() || !dumps_.empty() || phase_ >= Phase::kEnding) return false;
    if (paused_ == Paused::kWanted) return false;
    const bool idle = requests_.size() == compiling_ && in_flight_.empty();
    return idle || paused_ == Paused::kYes;
  };
  while (sleeps()) {
    if (deadlines_.empty()) {
      wake_.Wait(&mutex_);
    } else if (wake_.WaitFor(&mutex_, deadlines_.begin()->first - clock_->Now())) {
      return;
    }
  }
}

bool Engine::RunOnce() {
  // What is cancelled or late ends before the step is planned: its blocks are free for this step,
  // unless a step in flight reads them.
  bool ending = !TakeCommands();
  if (!ending) {
    ExpireDeadlines();
    const absl::Status status = Advance();
    ending = !status.ok() && !Survives(status);
  }
  if (ending) {
    EndAllRequests();
    // DumpState has refused since the engine was told to end, so these are the last.
    AnswerDumps();
  }
  // Clients are told before steps that nobody needs any more are waited for.
  PublishEvents();
  if (!ending) return true;
  DropSteps();
  EndSessions();
  return false;
}

absl::Status Engine::Advance() {
  if (PauseIsWanted()) {
    if (!in_flight_.empty()) NoteLostStep(in_flight_.front().plan);
    BeginPause();
  }
  RETURN_IF_ERROR(SubmitSteps());
  // After the next step was submitted, so that on a GPU this costs no time.
  AnswerDumps();
  return AwaitStep();
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
                            .tokens_left = request.max_new_tokens,
                            .scores_left = request.score ? prompt_tokens - 1 : 0,
                            .score = request.score,
                            .log_probs = request.options.log_probs.has_value(),
                            .eos_token_ids = request.eos_token_ids,
                            .submitted = submission.submitted,
                            .deadline = deadline});
  Request& known = requests_.at(submission.sequence);
  if (request.options.repetition_limit) known.repetition.emplace(*request.options.repetition_limit);
  if (!request.constraint.has_value() && !request.options.reasoning_limit.has_value()) {
    return Add(std::move(submission));
  }
  known.compiling = std::make_unique<Submission>(std::move(submission));
  ++compiling_;
}

void Engine::Apply(Compilation compilation) {
  const auto it = requests_.find(compilation.sequence);
  // It has been cancelled, or was late.
  if (it == requests_.end()) return;
  const SequenceId sequence = compilation.sequence;
  Request& request = it->second;
  const absl::Status made = MakeRules(std::move(compilation), request, *request.compiling);
  if (!made.ok()) return EndUnruled(sequence, made);
  Submission submission = std::move(*request.compiling);
  request.compiling.reset();
  --compiling_;
  Add(std::move(submission));
}

absl::Status Engine::MakeRules(Compilation compilation, Request& request, Submission& submission) {
  const GenerationRequest& asked = submission.request;
  RETURN_IF_ERROR(compilation.status);
  std::unique_ptr<ReasoningBudget> budget;
  if (asked.options.reasoning_limit.has_value()) {
    ASSIGN_OR_RETURN(budget, ReasoningBudget::Create(std::move(compilation.vocabulary),
                                                     *asked.options.reasoning_limit));
  }
  std::unique_ptr<ConstraintFilter> filter;
  if (compilation.constraint != nullptr) {
    filter = std::make_unique<ConstraintFilter>(std::move(compilation.constraint),
                                                asked.constraint->begin);
    request.filter = filter.get();
  }
  submission.rules =
      TokenRules::Create(asked.sampling, asked.options, asked.eos_token_ids, asked.prompt_token_ids,
                         std::move(filter), std::move(budget));
  return absl::OkStatus();
}

void Engine::Add(Submission submission) {
  GenerationRequest& request = submission.request;
  const auto prompt_tokens = static_cast<int32_t>(request.prompt_token_ids.size());
  added_tokens_ += prompt_tokens;
  scheduler_.Add(
      submission.sequence,
      {.prompt_token_ids = std::move(request.prompt_token_ids),
       .max_new_tokens = request.max_new_tokens,
       .sampling = request.sampling,
       .seed = request.seed,
       .rope = PlanRope(request.long_rope_policy, options_.request_limits.original_context_tokens,
                        prompt_tokens, request.max_new_tokens),
       .score = request.score,
       .cache_salt = std::move(request.cache_salt),
       .priority = request.priority,
       .tenant = std::move(request.tenant),
       .arrival = submission.submitted,
       .deadline = requests_.at(submission.sequence).deadline,
       .log_probs = request.options.log_probs.value_or(kernels::kNoLogProbs),
       .rules = std::move(submission.rules),
       .max_draft_tokens = request.options.max_draft_tokens.value_or(0)});
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

void Engine::RefuseLate(const StepPlan& plan, absl::Time now) {
  for (const StepPlan::Late& late : plan.late) {
    const Request& request = requests_.at(late.id);
    AddEvent(request).error = absl::DeadlineExceededError(absl::StrCat(
        "the first token would take ", absl::FormatDuration(absl::Trunc(late.estimate, kShown)),
        " at the present speed of ", static_cast<int64_t>(*scheduler_.speed().TokensPerSecond()),
        " tokens per second, and the deadline is in ",
        absl::FormatDuration(absl::Trunc(request.deadline - now, kShown))));
    metrics_->deadline_refusals_total.Increment();
    EndRequest(late.id, absl::StatusCode::kDeadlineExceeded);
  }
}

absl::Status Engine::SubmitSteps() {
  {
    MutexLock lock(&mutex_);
    if (paused_ == Paused::kYes) return absl::OkStatus();
  }
  while (scheduler_.in_flight() < executor_->max_in_flight()) {
    const absl::Time now = clock_->Now();
    StepPlan plan = scheduler_.Plan(now);
    metrics_->preemptions_total.Increment(plan.preemptions);
    RefuseLate(plan, now);
    UpdateLoad();
    if (plan.chunks.empty()) {
      // What was refused may have been in the way of others.
      if (!plan.late.empty()) continue;
      break;
    }
    MarkStarted(plan, now);
    const kernels::SamplingCounts rows = plan.step.sampling.counts();
    const int num_tokens = plan.step.forward.counts().num_tokens;
    RETURN_IF_ERROR(executor_->Submit(std::move(plan.step)));
    in_flight_.push_back({.plan = std::move(plan),
                          .num_tokens = num_tokens,
                          .num_draws = static_cast<size_t>(rows.num_logit_rows),
                          .num_scores = static_cast<size_t>(rows.num_score_rows),
                          .submitted = now});
  }
  return absl::OkStatus();
}

absl::Status Engine::AwaitStep() {
  if (in_flight_.empty()) return absl::OkStatus();
  StepInFlight step = std::move(in_flight_.front());
  in_flight_.pop_front();
  const absl::StatusOr<StepResult> awaited = executor_->Await();
  if (!awaited.ok()) {
    NoteLostStep(step.plan);
    return awaited.status();
  }
  const StepResult& result = *awaited;
  const absl::Time end = clock_->Now();
  // A step that was submitted while another one ran began when that one ended.
  const absl::Time begin = std::max(step.submitted, last_step_end_);
  last_step_end_ = end;
  metrics_->step_seconds.Observe(absl::ToDoubleSeconds(end - begin));
  metrics_->step_tokens.Observe(step.num_tokens);
  if (result.tokens.size() != step.num_draws || result.log_probs.size() != step.num_scores) {
    return absl::InternalError(absl::StrCat(
        "a step drew ", result.tokens.size(), " tokens and scored ", result.log_probs.size(),
        " instead of ", step.num_draws, " and ", step.num_scores));
  }
  {
    MutexLock lock(&mutex_);
    last_progress_ = end;
  }
  // Before ApplyResult, which removes sequences that end: their blocks are free at once if no other
  // step has them.
  scheduler_.NoteStepTime(step.plan, end - begin);
  scheduler_.Resolve(step.plan, result.tokens);
  step_record_.Add({.time = end - begin,
                    .tokens = step.num_tokens,
                    .seqs = static_cast<int>(step.plan.chunks.size()),
                    .generated = static_cast<int>(result.tokens.size()) - WrongGuesses(step.plan)},
                   end);
  ApplyResult(step.plan, result, end);
  return absl::OkStatus();
}

// Leaves the executor with nothing to do. Nobody waits for these results any more.
void Engine::DropSteps() {
  for (; !in_flight_.empty(); in_flight_.pop_front()) executor_->Await().IgnoreError();
  scheduler_.DropInFlight();
  UpdateLoad();
}

void Engine::MarkStarted(const StepPlan& plan, absl::Time now) {
  for (const PlannedChunk& chunk : plan.chunks) {
    Request& request = requests_.at(chunk.id);
    if (request.started) continue;
    request.started = now;
    if (!options_.prefix_cache || request.score) continue;
    request.cached_tokens = chunk.cached_tokens;
    metrics_->prefix_cache_queried_tokens_total.Increment(request.prompt_tokens);
    metrics_->prefix_cache_hit_tokens_total.Increment(chunk.cached_tokens);
  }
}

RequestEvent& Engine::AddEvent(const Request& request) {
  return events_.For(request.session, request.id);
}

void Engine::EndRequest(SequenceId sequence, absl::StatusCode code, bool sound) {
  const auto it = requests_.find(sequence);
  const Request& request = it->second;
  metrics_->CountRequest(code);
  if (request.compiling == nullptr) {
    scheduler_.Remove(sequence, sound);
  } else {
    --compiling_;
    // It has waited among the commands, so to say.
    added_tokens_ += request.prompt_tokens;
  }
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
    // Those among the commands stay as they are.
    waiting_tokens_ -= std::exchange(added_tokens_, 0);
    waiting_tokens_ += scheduler_.waiting_tokens() -
                       std::exchange(waiting_tokens_told_, scheduler_.waiting_tokens());
    tokens_per_second_ = scheduler_.speed().TokensPerSecond().value_or(0);
  }
  const EngineLoad load = this->load();
  metrics_->requests_running.Set(load.running_requests);
  metrics_->requests_waiting.Set(load.waiting_requests);
  metrics_->waiting_tokens.Set(static_cast<double>(load.waiting_tokens));
  metrics_->tokens_per_second.Set(scheduler_.speed().TokensPerSecond().value_or(0));
  metrics_->kv_blocks_used.Set(load.used_kv_blocks);
  metrics_->kv_blocks_cached.Set(scheduler_.cached_blocks());
  const int64_t evictions = scheduler_.evictions();
  metrics_->kv_blocks_evicted_total.Increment(
      static_cast<double>(evictions - std::exchange(evictions_told_, evictions)));
  return load;
}

void Engine::PublishEvents() {
  const EngineLoad load = UpdateLoad();
  // The engine's mutex is not held here, so that sinks may submit and cancel. A session that has
  // been closed has no sink any more, and nobody wants its events.
  events_.Take([&load](SessionState& session, absl::Span<const RequestEvent> events) {
    MutexLock lock(&session.sink_mutex);
    if (session.sink != nullptr) session.sink->OnStep(events, load);
  });
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
    pause_changed_.SignalAll();
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
