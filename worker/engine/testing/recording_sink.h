// A sink for tests that keeps what it is told.
#ifndef PHALANX_WORKER_ENGINE_TESTING_RECORDING_SINK_H_
#define PHALANX_WORKER_ENGINE_TESTING_RECORDING_SINK_H_

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/log.h"
#include "base/mutex.h"
#include "worker/engine/event_sink.h"

namespace phalanx {

// Thread-safe. Dies on an event after a request's last one.
class RecordingSink final : public EventSink {
 public:
  struct Record {
    bool started = false;
    int cached_tokens = 0;
    int drafted_tokens = 0;
    int accepted_tokens = 0;
    std::vector<int32_t> tokens;
    // How many of them came in each event that had some.
    std::vector<int> tokens_of_events;
    std::vector<DrawnLogProbs> drawn_log_probs;
    std::vector<float> log_probs;
    std::optional<RequestFinished> finished;
    absl::Status error;

    bool ended() const { return finished.has_value() || !error.ok(); }
  };

  void OnStep(absl::Span<const RequestEvent> events, const EngineLoad& load) override {
    MutexLock lock(&mutex_);
    ++calls_;
    load_ = load;
    CHECK(!events.empty());
    for (const RequestEvent& event : events) {
      Record& record = records_[event.id];
      CHECK(!record.ended() && !engine_status_.has_value());
      CHECK(!(event.finished.has_value() && !event.error.ok()));
      CHECK(!(record.started && event.started));
      record.started |= event.started;
      CHECK(event.cached_tokens == 0 || event.started);
      record.cached_tokens += event.cached_tokens;
      CHECK(event.accepted_tokens <= event.drafted_tokens);
      CHECK(event.accepted_tokens <= static_cast<int>(event.token_ids.size()));
      record.drafted_tokens += event.drafted_tokens;
      record.accepted_tokens += event.accepted_tokens;
      CHECK(record.started || (event.token_ids.empty() && event.log_probs.empty()));
      CHECK(event.token_ids.empty() ||
            event.first_token_index == static_cast<int>(record.tokens.size()));
      record.drawn_log_probs.insert(record.drawn_log_probs.end(), event.drawn_log_probs.begin(),
                                    event.drawn_log_probs.end());
      if (!event.token_ids.empty()) {
        record.tokens_of_events.push_back(static_cast<int>(event.token_ids.size()));
      }
      record.tokens.insert(record.tokens.end(), event.token_ids.begin(), event.token_ids.end());
      record.log_probs.insert(record.log_probs.end(), event.log_probs.begin(),
                              event.log_probs.end());
      record.finished = event.finished;
      record.error = event.error;
    }
    changed_.SignalAll();
  }

  void OnEngineEnded(const absl::Status& status) override {
    MutexLock lock(&mutex_);
    CHECK(!engine_status_.has_value());
    engine_status_ = status;
    changed_.SignalAll();
  }

  // What is known of a request so far.
  Record Get(RequestId id) const {
    MutexLock lock(&mutex_);
    const auto it = records_.find(id);
    return it == records_.end() ? Record() : it->second;
  }

  // Blocks until the request has had its last event.
  Record WaitForEnd(RequestId id) {
    MutexLock lock(&mutex_);
    while (!records_[id].ended()) changed_.Wait(&mutex_);
    return records_[id];
  }

  // Blocks until the request has a token.
  void WaitForToken(RequestId id) {
    MutexLock lock(&mutex_);
    while (records_[id].tokens.empty()) changed_.Wait(&mutex_);
  }

  int calls() const {
    MutexLock lock(&mutex_);
    return calls_;
  }

  EngineLoad load() const {
    MutexLock lock(&mutex_);
    return load_;
  }

  std::optional<absl::Status> engine_status() const {
    MutexLock lock(&mutex_);
    return engine_status_;
  }

 private:
  mutable Mutex mutex_;
  CondVar changed_;
  int calls_ GUARDED_BY(mutex_) = 0;
  EngineLoad load_ GUARDED_BY(mutex_);
  std::map<RequestId, Record> records_ GUARDED_BY(mutex_);
  std::optional<absl::Status> engine_status_ GUARDED_BY(mutex_);
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_ENGINE_TESTING_RECORDING_SINK_H_
