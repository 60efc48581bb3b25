// std::mutex and std::condition_variable with Clang's thread-safety annotations.
//
// Used instead of absl::Mutex because ThreadSanitizer cannot see into Debian's build of Abseil.
#ifndef PHALANX_BASE_MUTEX_H_
#define PHALANX_BASE_MUTEX_H_

#include <chrono>
#include <condition_variable>
#include <mutex>

// GUARDED_BY, EXCLUSIVE_LOCKS_REQUIRED, LOCKS_EXCLUDED: Debian's Abseil still has the unprefixed
// names, and many of its headers bring them.
#include "absl/base/thread_annotations.h"  // IWYU pragma: export
#include "absl/time/time.h"

#if defined(__clang__)
#define PHALANX_THREAD_ANNOTATION_(x) __attribute__((x))
#else
#define PHALANX_THREAD_ANNOTATION_(x)
#endif

namespace phalanx {

class PHALANX_THREAD_ANNOTATION_(lockable) Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() PHALANX_THREAD_ANNOTATION_(exclusive_lock_function()) { mutex_.lock(); }
  void Unlock() PHALANX_THREAD_ANNOTATION_(unlock_function()) { mutex_.unlock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class PHALANX_THREAD_ANNOTATION_(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex* mutex) PHALANX_THREAD_ANNOTATION_(exclusive_lock_function(mutex))
      : mutex_(mutex) {
    mutex_->Lock();
  }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;
  ~MutexLock() PHALANX_THREAD_ANNOTATION_(unlock_function()) { mutex_->Unlock(); }

 private:
  Mutex* const mutex_;
};

// Wait and WaitFor may return for no reason: always call them in a loop over the condition.
class CondVar {
 public:
  CondVar() = default;
  CondVar(const CondVar&) = delete;
  CondVar& operator=(const CondVar&) = delete;

  void Wait(Mutex* mutex) EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    std::unique_lock<std::mutex> lock(mutex->mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }

  // Returns true if `timeout` passed. An infinite timeout is allowed.
  bool WaitFor(Mutex* mutex, absl::Duration timeout) EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (timeout == absl::InfiniteDuration()) {
      Wait(mutex);
      return false;
    }
    std::unique_lock<std::mutex> lock(mutex->mutex_, std::adopt_lock);
    const std::cv_status status = condition_.wait_for(lock, absl::ToChronoNanoseconds(timeout));
    lock.release();
    return status == std::cv_status::timeout;
  }

  void Signal() { condition_.notify_one(); }
  void SignalAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace phalanx

#endif  // PHALANX_BASE_MUTEX_H_
