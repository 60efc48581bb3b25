#include "client/load_runner.h"

#include <algorithm>
#include <thread>
#include <utility>

namespace phalanx {

LoadRunner::LoadRunner(Options options, InferenceClient* client, const Clock* clock)
    : options_(std::move(options)), client_(*client), clock_(*clock) {}

std::vector<RequestRecord> LoadRunner::Run(
    const std::vector<PlannedRequest>& plan, absl::Duration interval,
    const std::function<void(const LoadProgress&)>& on_progress) {
  const int num_threads =
      std::min(options_.concurrency, std::max(static_cast<int>(plan.size()), 1));
  {
    MutexLock lock(&mutex_);
    start_ = clock_.Now();
    threads_left_ = num_threads;
  }
  std::vector<std::thread> threads;
  threads.reserve(static_cast<size_t>(num_threads));
  for (int i = 0; i < num_threads; ++i) {
    threads.emplace_back([this, &plan] { SendRequests(plan); });
  }
  while (true) {
    LoadProgress progress;
    {
      MutexLock lock(&mutex_);
      if (threads_left_ > 0) changed_.WaitFor(&mutex_, interval);
      if (threads_left_ == 0) break;
      progress = progress_;
      progress.elapsed = clock_.Now() - start_;
    }
    on_progress(progress);
  }
  for (std::thread& thread : threads) thread.join();
  MutexLock lock(&mutex_);
  return std::move(records_);
}

void LoadRunner::Stop() {
  MutexLock lock(&mutex_);
  stopped_ = true;
  for (Cancellation* const cancellation : cancellations_) cancellation->Cancel();
  changed_.SignalAll();
}

void LoadRunner::SendRequests(const std::vector<PlannedRequest>& plan) {
  while (const PlannedRequest* const planned = TakeRequest(plan)) {
    Cancellation cancellation;
    {
      MutexLock lock(&mutex_);
      if (stopped_) cancellation.Cancel();
      cancellations_.push_back(&cancellation);
    }
    RequestRecord record = Send(*planned, &cancellation);
    MutexLock lock(&mutex_);
    cancellations_.erase(std::find(cancellations_.begin(), cancellations_.end(), &cancellation));
    --progress_.running;
    ++progress_.ended;
    if (!record.status().ok()) ++progress_.failed;
    records_.push_back(std::move(record));
  }
  MutexLock lock(&mutex_);
  --threads_left_;
  changed_.SignalAll();
}

const PlannedRequest* LoadRunner::TakeRequest(const std::vector<PlannedRequest>& plan) {
  MutexLock lock(&mutex_);
  if (stopped_ || next_ == plan.size()) return nullptr;
  const PlannedRequest* const planned = &plan[next_++];
  while (!stopped_) {
    const absl::Duration left = start_ + planned->due - clock_.Now();
    if (left <= absl::ZeroDuration()) {
      ++progress_.running;
      return planned;
    }
    changed_.WaitFor(&mutex_, left);
  }
  return nullptr;
}

RequestRecord LoadRunner::Send(const PlannedRequest& planned, Cancellation* cancellation) {
  v1::GenerateRequest request = options_.request;
  request.mutable_tokens()->mutable_ids()->Add(planned.prompt_token_ids.begin(),
                                               planned.prompt_token_ids.end());
  request.set_max_new_tokens(planned.max_new_tokens);
  request.set_ignore_eos(true);
  absl::Time start = clock_.Now();
  if (planned.due > absl::ZeroDuration()) {
    // A request that had to wait for a thread is as late for its user.
    MutexLock lock(&mutex_);
    start = std::min(start, start_ + planned.due);
  }
  RequestRecord record(start);
  const absl::Status status =
      client_.Generate(request, {.timeout = options_.timeout, .cancellation = cancellation},
                       [&](const v1::GenerateEvent& event) {
                         if (event.has_started())
                           record.set_prompt_tokens(event.started().prompt_tokens());
                         const int tokens = event.delta().token_ids_size();
                         if (tokens > 0) {
                           record.AddTokens(tokens, clock_.Now());
                           MutexLock lock(&mutex_);
                           progress_.output_tokens += tokens;
                         }
                         return absl::OkStatus();
                       });
  record.End(status, clock_.Now());
  return record;
}

}  // namespace phalanx
