// A fixed number of threads over a bounded queue.
#ifndef PHALANX_BASE_THREAD_POOL_H_
#define PHALANX_BASE_THREAD_POOL_H_

#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "base/mutex.h"

namespace phalanx {

// Thread-safe. The destructor runs what is queued, then joins.
class ThreadPool {
 public:
  // `name` shows in debuggers (at most 15 characters). `max_queued` does not count running tasks.
  ThreadPool(const std::string& name, int num_threads, int max_queued);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  // Queues `task`. RESOURCE_EXHAUSTED if the queue is full; the task is then not run. Does not
  // block.
  absl::Status Submit(std::function<void()> task);

 private:
  void Run();

  const size_t max_queued_;
  Mutex mutex_;
  CondVar wake_;
  std::deque<std::function<void()>> queue_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace phalanx

#endif  // PHALANX_BASE_THREAD_POOL_H_
