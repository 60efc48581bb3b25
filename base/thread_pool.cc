#include "base/thread_pool.h"

#include <pthread.h>

#include <utility>

namespace phalanx {

ThreadPool::ThreadPool(const std::string& name, int num_threads, int max_queued)
    : max_queued_(static_cast<size_t>(max_queued)) {
  threads_.reserve(num_threads);
  for (int i = 0; i < num_threads; ++i) {
    threads_.emplace_back([this] { Run(); });
    pthread_setname_np(threads_.back().native_handle(), name.substr(0, 15).c_str());
  }
}

ThreadPool::~ThreadPool() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  wake_.SignalAll();
  for (std::thread& thread : threads_) thread.join();
}

absl::Status ThreadPool::Submit(std::function<void()> task) {
  {
    MutexLock lock(&mutex_);
    if (queue_.size() >= max_queued_) {
      return absl::ResourceExhaustedError("the thread pool's queue is full");
    }
    queue_.push_back(std::move(task));
  }
  wake_.Signal();
  return absl::OkStatus();
}

void ThreadPool::Run() {
  while (true) {
    std::function<void()> task;
    {
      MutexLock lock(&mutex_);
      while (queue_.empty() && !stopping_) wake_.Wait(&mutex_);
      if (queue_.empty()) return;
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task();
  }
}

}  // namespace phalanx
