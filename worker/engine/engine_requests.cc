// How the engine takes requests in, and how it ends them; what their steps give is in
// engine_results.cc. All of it is the engine thread's.
#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kernels/step_batch.h"
#include "worker/engine/constraint_filter.h"
#include "worker/engine/engine.h"
#include "worker/engine/reasoning_budget.h"

namespace phalanx {
namespace {

// How exactly durations are told.
constexpr absl::Duration kShown = absl::Milliseconds(1);

}  // namespace

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
  known.stream_interval = request.options.stream_interval;
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

void Engine::EndRequest(SequenceId sequence, absl::StatusCode code, bool sound) {
  const auto it = requests_.find(sequence);
  Request& request = it->second;
  // What has been generated is told with the end, whatever that is. Nobody wants anything of a
  // request that was cancelled.
  if (code != absl::StatusCode::kCancelled) TellTokens(request);
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

}  // namespace phalanx
