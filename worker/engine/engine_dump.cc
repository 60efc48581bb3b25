// How the engine tells people what it is doing.
#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "worker/engine/engine.h"

namespace phalanx {

absl::Status Engine::DumpState(int max_requests, std::function<void(const EngineState&)> on_state) {
  MutexLock lock(&mutex_);
  if (phase_ >= Phase::kEnding) return absl::UnavailableError(request_status_.message());
  // While a step hangs nobody takes them away, and others come.
  if (dumps_.size() >= kMaxWaitingDumps) {
    return absl::ResourceExhaustedError(
        absl::StrCat(kMaxWaitingDumps, " others wait for the engine to tell its state"));
  }
  dumps_.push_back({max_requests, std::move(on_state)});
  wake_.Signal();
  return absl::OkStatus();
}

void Engine::AnswerDumps() {
  std::vector<Dump> dumps;
  {
    MutexLock lock(&mutex_);
    dumps.swap(dumps_);
  }
  for (const Dump& dump : dumps) dump.on_state(State(dump.max_requests));
}

EngineState Engine::State(int max_requests) const {
  const absl::Time now = clock_->Now();
  const EngineLoad load = this->load();
  const StepRecord::Rates rates = step_record_.RatesAt(now);
  EngineState state = {
      .running_requests = load.running_requests,
      .waiting_requests = load.waiting_requests,
      .total_kv_blocks = options_.limits.kv_blocks,
      .used_kv_blocks = scheduler_.used_blocks(),
      .cached_kv_blocks = scheduler_.cached_blocks(),
      .steps_in_flight = static_cast<int>(in_flight_.size()),
      .step_age = step_age(),
      .steps_ended = step_record_.ended(),
      .last_step_time = step_record_.last().time,
      .last_step_tokens = step_record_.last().tokens,
      .last_step_seqs = step_record_.last().seqs,
      .computed_tokens_per_second = rates.computed_tokens_per_second,
      .generated_tokens_per_second = rates.generated_tokens_per_second,
      .prompt_tokens = static_cast<int64_t>(metrics_->prompt_tokens_total.Value()),
      .generated_tokens = static_cast<int64_t>(metrics_->generation_tokens_total.Value()),
      .preemptions = static_cast<int64_t>(metrics_->preemptions_total.Value()),
      .cache_queried_tokens =
          static_cast<int64_t>(metrics_->prefix_cache_queried_tokens_total.Value()),
      .cache_hit_tokens = static_cast<int64_t>(metrics_->prefix_cache_hit_tokens_total.Value())};

  // Sequences are numbered in order of arrival.
  std::vector<SequenceId> oldest;
  oldest.reserve(requests_.size());
  for (const auto& [sequence, request] : requests_) oldest.push_back(sequence);
  const size_t told = std::min(oldest.size(), static_cast<size_t>(std::max(max_requests, 0)));
  std::partial_sort(oldest.begin(), oldest.begin() + static_cast<std::ptrdiff_t>(told),
                    oldest.end());
  state.requests.reserve(told);
  for (size_t i = 0; i < told; ++i) {
    const Request& request = requests_.at(oldest[i]);
    Scheduler::Progress progress = {.known_tokens = request.prompt_tokens};
    if (request.compiling == nullptr) progress = scheduler_.ProgressOf(oldest[i]);
    RequestPhase phase = request.started ? RequestPhase::kPreempted : RequestPhase::kWaiting;
    if (progress.running) {
      phase =
          progress.decodes && !request.score ? RequestPhase::kDecoding : RequestPhase::kPrefilling;
    }
    state.requests.push_back({.id = request.id,
                              .phase = phase,
                              .age = now - request.submitted,
                              .prompt_tokens = request.prompt_tokens,
                              .computed_tokens = progress.computed_tokens,
                              .generated_tokens = progress.known_tokens - request.prompt_tokens,
                              .kv_blocks = progress.blocks,
                              .cached_tokens = request.cached_tokens,
                              .score = request.score});
  }
  return state;
}

}  // namespace phalanx
