// What any thread may ask of the engine; what the engine thread does is in engine_loop.cc.
#include "worker/engine/engine.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/retry_after.h"
#include "base/status.h"
#include "kernels/ops.h"

namespace phalanx {
namespace {

constexpr absl::Duration kMinRetryAfter = absl::Seconds(1);
constexpr absl::Duration kMaxRetryAfter = absl::Minutes(1);

// Whether the rules of a request need a compiled constraint, or the model's vocabulary.
bool NeedsCompilation(const GenerationRequest& request) {
  return request.constraint.has_value() || request.options.reasoning_limit.has_value();
}

}  // namespace

EngineSession::EngineSession(Engine* engine, std::shared_ptr<SessionState> state)
    : engine_(engine), state_(std::move(state)) {}

EngineSession::~EngineSession() { engine_->CloseSession(state_); }

absl::Status EngineSession::Submit(RequestId id, GenerationRequest request) {
  return engine_->Submit(state_, id, std::move(request));
}

void EngineSession::Cancel(RequestId id) { engine_->Cancel(*state_, id); }

void EngineSession::CancelAll() { engine_->CancelAll(*state_); }

Engine::Engine(const Options& options, StepExecutor* executor, const Clock* clock,
               EngineMetrics* metrics, std::unique_ptr<ConstraintCompiler> constraints)
    : options_(options),
      executor_(executor),
      clock_(clock),
      metrics_(metrics),
      scheduler_(options.limits, options.prefix_cache, executor->step_memory()),
      constraints_(std::move(constraints)) {
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
  if (constraints_ == nullptr && NeedsCompilation(request)) {
    return absl::InvalidArgumentError(
        absl::StrCat(request.constraint.has_value() ? "constraint" : "reasoning_limit",
                     ": this worker group has no constraints"));
  }
  if (request.timeout <= absl::ZeroDuration()) {
    return absl::DeadlineExceededError("the deadline had passed before the request came");
  }
  return absl::OkStatus();
}

absl::Status Engine::CheckRoom(const SessionState& session, RequestId id,
                               int64_t prompt_tokens) const {
  if (phase_ == Phase::kDraining) return absl::UnavailableError("the worker is draining");
  if (phase_ != Phase::kOpen) return absl::UnavailableError(request_status_.message());
  if (session.live.contains(id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("request_id ", static_cast<uint64_t>(id), " is in use in this session"));
  }
  // running_requests_ was counted after the latest plan or step, so all that has come since counts
  // as waiting.
  const int waiting = live_requests_ - running_requests_;
  if (waiting >= options_.max_waiting) {
    return QueueFull(absl::StrCat(options_.max_waiting,
                                  options_.max_waiting == 1 ? " request" : " requests",
                                  " (--max_waiting)"));
  }
  if (waiting > 0 && waiting_tokens_ + prompt_tokens > options_.max_waiting_tokens) {
    return QueueFull(
        absl::StrCat(options_.max_waiting_tokens, " prompt tokens (--max_waiting_tokens)"));
  }
  return absl::OkStatus();
}

// The caller is told to come back when what waits now has been computed, as far as its speed is
// known.
absl::Status Engine::QueueFull(absl::string_view limit) const {
  const absl::Duration drained =
      tokens_per_second_ > 0
          ? absl::Seconds(static_cast<double>(waiting_tokens_) / tokens_per_second_)
          : absl::ZeroDuration();
  return WithRetryAfter(absl::ResourceExhaustedError(
                            absl::StrCat("the worker group's queue is at its limit of ", limit)),
                        std::clamp(drained, kMinRetryAfter, kMaxRetryAfter));
}

absl::Status Engine::Submit(const std::shared_ptr<SessionState>& session, RequestId id,
                            GenerationRequest request) {
  // The lock is not held here: this looks at every token of the prompt, and the engine thread would
  // have to wait.
  absl::Status status = CheckRequest(request);
  std::unique_ptr<TokenRules> rules;
  if (status.ok()) {
    rules = TokenRules::Create(request.sampling, request.options, request.eos_token_ids,
                               request.prompt_token_ids);
    // A sequence may have an edit for each token of the vocabulary, and must fit into a step.
    if (rules != nullptr && options_.request_limits.vocab_size > kMaxStepEdits) {
      status = absl::InvalidArgumentError(absl::StrCat(
          "logit_bias, min_new_tokens and penalties are for vocabularies of at most ",
          kMaxStepEdits, " tokens; this one has ", options_.request_limits.vocab_size));
    }
  }
  const bool compiles = NeedsCompilation(request);
  std::optional<ConstraintSource> constraint;
  if (request.constraint.has_value()) constraint = request.constraint->source;
  SequenceId sequence{};
  if (status.ok()) {
    const auto prompt_tokens = static_cast<int64_t>(request.prompt_token_ids.size());
    MutexLock lock(&mutex_);
    status = CheckRoom(*session, id, prompt_tokens);
    if (status.ok()) {
      waiting_tokens_ += prompt_tokens;
      sequence = SequenceId{next_sequence_++};
      session->live.emplace(id, SessionState::Live{.sequence = sequence});
      commands_.push_back(
          Submission{session, id, sequence, std::move(request), clock_->Now(), std::move(rules)});
      // step_age() counts from here after an idle time, which no step is to blame for.
      if (live_requests_++ == 0) last_progress_ = clock_->Now();
      wake_.Signal();
    }
  }
  if (!status.ok()) {
    metrics_->CountRequest(status.code());
  } else if (compiles) {
    Compile(sequence, std::move(constraint));
  }
  return status;
}

// The request is among the commands already, so the engine thread hears of it before it hears of
// what has been compiled for it.
void Engine::Compile(SequenceId sequence, std::optional<ConstraintSource> source) {
  const auto push = [this](Compilation compilation) {
    MutexLock lock(&mutex_);
    commands_.push_back(std::move(compilation));
    wake_.Signal();
  };
  const auto on_constraint = [push, sequence](ConstraintCompiler::Result constraint) {
    if (!constraint.ok()) return push({sequence, constraint.status()});
    std::shared_ptr<const ConstraintVocabulary> vocabulary = (*constraint)->shared_vocabulary();
    push({sequence, absl::OkStatus(), *std::move(constraint), std::move(vocabulary)});
  };
  const auto on_vocabulary = [push, sequence](ConstraintCompiler::VocabularyResult vocabulary) {
    if (!vocabulary.ok()) return push({sequence, vocabulary.status()});
    push({sequence, absl::OkStatus(), nullptr, *std::move(vocabulary)});
  };
  const absl::Status queued = source.has_value()
                                  ? constraints_->Compile(*std::move(source), on_constraint)
                                  : constraints_->GetVocabulary(on_vocabulary);
  if (!queued.ok()) push({sequence, queued});
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
          .used_kv_blocks = used_kv_blocks_,
          .waiting_tokens = waiting_tokens_};
}

absl::Duration Engine::step_age() const {
  MutexLock lock(&mutex_);
  return live_requests_ == 0 ? absl::ZeroDuration() : clock_->Now() - last_progress_;
}

}  // namespace phalanx
