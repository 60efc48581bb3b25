// std::mutex and std::condition_variable with Clang's thread-safety annotations.
//
// Used instead of absl::Mutex because ThreadSanitizer cannot see into Debian's build of Abseil.
#ifndef PHALANX_BASE_MUTEX_H_
#define PHALANX_BASE_MUTEX_H_

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/time/time.h"

#if defined(__clang__)
#define PHALANX_THREAD_ANNOTATION_(x) __attribute__((x))
#else
#define PHALANX_THREAD_ANNOTATION_(x)
#endif

// On a member: touched only with `x` held.
#define GUARDED_BY(x) PHALANX_THREAD_ANNOTATION_(guarded_by(x))
// On a function: the caller holds, or must not hold, these.
#define EXCLUSIVE_LOCKS_REQUIRED(...) \
  PHALANX_THREAD_ANNOTATION_(exclusive_locks_required(__VA_ARGS__))
#define LOCKS_EXCLUDED(...) PHALANX_THREAD_ANNOTATION_(locks_excluded(__VA_ARGS__))

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

// Waits may wake for no reason: always wait in a loop over the condition.
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
