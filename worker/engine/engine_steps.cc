// How the engine has steps computed: it submits them, and takes in what they give. All of it is the
// engine thread's.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "worker/engine/engine.h"

namespace phalanx {
namespace {

// How many of the tokens that a step drew are of no use, once it is resolved.
int WrongGuesses(const StepPlan& plan) {
  int wrong = 0;
  for (const PlannedChunk& chunk : plan.chunks) {
    if (chunk.draws) wrong += chunk.num_draws() - 1 - chunk.num_accepted;
  }
  return wrong;
}

}  // namespace

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
    RETURN_IF_ERROR(SubmitStep(std::move(plan), now));
  }
  return absl::OkStatus();
}

absl::Status Engine::SubmitStep(StepPlan plan, absl::Time now) {
  MarkStarted(plan, now);
  StepInFlight step = {.plan = std::move(plan), .submitted = now};
  step.num_tokens = step.plan.step.forward.counts().num_tokens;
  if (step.plan.sampling_follows) {
    RETURN_IF_ERROR(executor_->SubmitForward(std::move(step.plan.step.forward)));
  } else {
    step.CountRows();
    RETURN_IF_ERROR(executor_->Submit(std::move(step.plan.step)));
  }
  in_flight_.push_back(std::move(step));
  return SubmitSampling();
}

// The ranks have begun with the forward part and need this when the logits are there.
absl::Status Engine::SubmitSampling() {
  if (in_flight_.empty() || !in_flight_.front().plan.sampling_follows) return absl::OkStatus();
  StepInFlight& step = in_flight_.front();
  scheduler_.WriteSampling(step.plan);
  step.CountRows();
  absl::Status status = executor_->SubmitSampling(std::move(step.plan.step.sampling));
  if (!status.ok()) NoteLostStep(step.plan);
  return status;
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
  return SubmitSampling();
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

}  // namespace phalanx
