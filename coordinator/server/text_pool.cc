#include "coordinator/server/text_pool.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/admission/refusal.h"

namespace phalanx {

TextPool::TextPool(const Options& options) : options_(options) {
  // The last thread takes short texts only.
  threads_.reserve(options.threads + 1);
  for (int i = 0; i <= options.threads; ++i) {
    const bool short_only = i == options.threads;
    threads_.emplace_back([this, short_only] { Run(short_only); });
    pthread_setname_np(threads_.back().native_handle(), short_only ? "short-text" : "text");
  }
}

TextPool::~TextPool() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  wake_.SignalAll();
  for (std::thread& thread : threads_) thread.join();
}

absl::Status TextPool::Submit(const void* owner, int64_t bytes, std::function<void()> task) {
  {
    MutexLock lock(&mutex_);
    if (static_cast<int>(queue_.size()) >= options_.max_queued) {
      return Refused(
          RefusalKind::kTextQueueFull,
          absl::ResourceExhaustedError(absl::StrCat(
              queue_.size(), " texts wait to be tokenized, the limit (--max_queued_texts)")));
    }
    // A text that is larger than the limit is taken into an empty queue, or it never could be.
    if (!queue_.empty() && queued_bytes_ + bytes > options_.max_queued_bytes) {
      return Refused(RefusalKind::kTextQueueFull,
                     absl::ResourceExhaustedError(
                         absl::StrCat(queued_bytes_, " bytes of text wait to be tokenized and ",
                                      bytes, " more exceed the limit of ",
                                      options_.max_queued_bytes, " (--max_queued_text_bytes)")));
    }
    queue_.push_back({owner, bytes, std::move(task)});
    queued_bytes_ += bytes;
  }
  // All threads are woken: a single one might be the one that takes short texts only.
  wake_.SignalAll();
  return absl::OkStatus();
}

bool TextPool::Remove(const void* owner) {
  // Destroyed after the lock is released: the task may hold the last reference to its owner, whose
  // destructor may call this pool.
  Task removed;
  MutexLock lock(&mutex_);
  const auto found = std::find_if(queue_.begin(), queue_.end(),
                                  [owner](const Task& task) { return task.owner == owner; });
  if (found == queue_.end()) return false;
  removed = Take(found);
  return true;
}

TextPool::Queue::iterator TextPool::NextTask(bool short_only) {
  if (!short_only) return queue_.begin();
  return std::find_if(queue_.begin(), queue_.end(),
                      [this](const Task& task) { return task.bytes < options_.long_text_bytes; });
}

TextPool::Task TextPool::Take(const Queue::iterator& task) {
  Task taken = std::move(*task);
  queue_.erase(task);
  queued_bytes_ -= taken.bytes;
  return taken;
}

void TextPool::Run(bool short_only) {
  while (true) {
    Task task;
    {
      MutexLock lock(&mutex_);
      auto next = NextTask(short_only);
      while (next == queue_.end() && !stopping_) {
        wake_.Wait(&mutex_);
        next = NextTask(short_only);
      }
      // Only when the pool is stopping, and there is no task left that this thread takes.
      if (next == queue_.end()) return;
      task = Take(next);
    }
    task.run();
  }
}

}  // namespace phalanx
