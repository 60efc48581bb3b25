// Threads for text processing.
#ifndef PHALANX_COORDINATOR_SERVER_TEXT_POOL_H_
#define PHALANX_COORDINATOR_SERVER_TEXT_POOL_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "base/mutex.h"

namespace phalanx {

// Runs tasks in the order in which they came, on a fixed number of threads over a bounded queue.
// One more thread takes short texts only, so that these wait for no long one. Thread-safe.
class TextPool {
 public:
  struct Options {
    // Threads that take all texts. One more, which takes short texts only, is not counted here.
    int threads = 1;
    // Bound on the tasks that no thread has taken yet.
    int max_queued = 256;
    // Bound on the bytes of their texts together.
    int64_t max_queued_bytes = int64_t{64} << 20;
    // Texts of this size and more are long: they take a few milliseconds or longer.
    int64_t long_text_bytes = int64_t{32} << 10;
  };

  explicit TextPool(const Options& options);
  TextPool(const TextPool&) = delete;
  TextPool& operator=(const TextPool&) = delete;
  // Runs what is queued, then joins.
  ~TextPool();

  // Queues `task`, which works on `bytes` of text. `owner` is a name for Remove: each has at most
  // one task in the queue. RESOURCE_EXHAUSTED, with a text for the public, if the queue is full;
  // the task is then not run. A text above max_queued_bytes is taken if nothing else waits. Does
  // not block.
  absl::Status Submit(const void* owner, int64_t bytes, std::function<void()> task);

  // Takes the owner's task out of the queue; it is destroyed here and not run. False if there is
  // none: a thread has taken it, or it was never there. Does not wait for a running task.
  bool Remove(const void* owner);

 private:
  struct Task {
    const void* owner = nullptr;
    int64_t bytes = 0;
    std::function<void()> run;
  };
  using Queue = std::deque<Task>;

  void Run(bool short_only);
  Queue::iterator NextTask(bool short_only) EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Task Take(const Queue::iterator& task) EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  Mutex mutex_;
  CondVar wake_;
  Queue queue_ GUARDED_BY(mutex_);
  int64_t queued_bytes_ GUARDED_BY(mutex_) = 0;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_TEXT_POOL_H_
