// Sends the requests of `phalanx bench` from as many threads as may be under way at once.
#ifndef PHALANX_CLIENT_LOAD_RUNNER_H_
#define PHALANX_CLIENT_LOAD_RUNNER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "client/cancellation.h"
#include "client/inference_client.h"
#include "client/load_figures.h"
#include "client/load_plan.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {

// How far a run has come.
struct LoadProgress {
  int ended = 0;
  int failed = 0;
  int running = 0;
  int64_t output_tokens = 0;
  absl::Duration elapsed;
};

// Thread-safe. One run.
class LoadRunner {
 public:
  struct Options {
    int concurrency = 1;
    absl::Duration timeout = absl::InfiniteDuration();  // For each request.
    // What all requests have in common: the model and how tokens are drawn.
    v1::GenerateRequest request;
  };

  // `client` and `clock` are lent.
  LoadRunner(Options options, InferenceClient* client, const Clock* clock);
  LoadRunner(const LoadRunner&) = delete;
  LoadRunner& operator=(const LoadRunner&) = delete;

  // Sends all requests and waits for their ends. `on_progress` is called every `interval` while
  // that takes, by this thread. Returns a record of each request that was sent. Failures are in the
  // records. Not twice.
  std::vector<RequestRecord> Run(const std::vector<PlannedRequest>& plan, absl::Duration interval,
                                 const std::function<void(const LoadProgress&)>& on_progress);

  // Makes Run return soon: what is under way ends with CANCELLED, and nothing more is sent.
  void Stop();

 private:
  // What a thread does: takes the next request until none is left.
  void SendRequests(const std::vector<PlannedRequest>& plan);
  // Blocks until the next request is due. Null if there is none, or after Stop.
  const PlannedRequest* TakeRequest(const std::vector<PlannedRequest>& plan);
  RequestRecord Send(const PlannedRequest& planned, Cancellation* cancellation);

  const Options options_;
  InferenceClient& client_;
  const Clock& clock_;

  Mutex mutex_;
  // Signalled by Stop and when a thread ends.
  CondVar changed_;
  absl::Time start_ GUARDED_BY(mutex_);
  size_t next_ GUARDED_BY(mutex_) = 0;
  bool stopped_ GUARDED_BY(mutex_) = false;
  int threads_left_ GUARDED_BY(mutex_) = 0;
  LoadProgress progress_ GUARDED_BY(mutex_);
  std::vector<RequestRecord> records_ GUARDED_BY(mutex_);
  // Of the requests that are under way.
  std::vector<Cancellation*> cancellations_ GUARDED_BY(mutex_);
};

}  // namespace phalanx

#endif  // PHALANX_CLIENT_LOAD_RUNNER_H_
