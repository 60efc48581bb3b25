// A way to stop a call from outside it.
#ifndef PHALANX_CLIENT_CANCELLATION_H_
#define PHALANX_CLIENT_CANCELLATION_H_

#include <functional>
#include <utility>

#include "base/mutex.h"

namespace phalanx {

// Thread-safe. May be cancelled before, during or after the call that it is given to, and stays
// cancelled. Must outlive that call.
class Cancellation {
 public:
  Cancellation() = default;
  Cancellation(const Cancellation&) = delete;
  Cancellation& operator=(const Cancellation&) = delete;

  // Not for use in a signal handler: it takes a lock.
  void Cancel() {
    MutexLock lock(&mutex_);
    cancelled_ = true;
    // Runs under the lock, so that the end of the scope waits for it and it never runs after that.
    if (on_cancel_) on_cancel_();
  }

  bool cancelled() const {
    MutexLock lock(&mutex_);
    return cancelled_;
  }

 private:
  friend class CancellationScope;

  mutable Mutex mutex_;
  bool cancelled_ GUARDED_BY(mutex_) = false;
  std::function<void()> on_cancel_ GUARDED_BY(mutex_);
};

// For the function that makes the call. While the scope lives, `on_cancel` runs at each Cancel, and
// at once if there was one before. It must not block. There may be one scope at a time for each
// Cancellation. A null `cancellation` does nothing.
class CancellationScope {
 public:
  CancellationScope(Cancellation* cancellation, std::function<void()> on_cancel)
      : cancellation_(cancellation) {
    if (cancellation_ == nullptr) return;
    MutexLock lock(&cancellation_->mutex_);
    if (cancellation_->cancelled_) on_cancel();
    cancellation_->on_cancel_ = std::move(on_cancel);
  }
  CancellationScope(const CancellationScope&) = delete;
  CancellationScope& operator=(const CancellationScope&) = delete;
  ~CancellationScope() {
    if (cancellation_ == nullptr) return;
    MutexLock lock(&cancellation_->mutex_);
    cancellation_->on_cancel_ = nullptr;
  }

 private:
  Cancellation* const cancellation_;
};

}  // namespace phalanx

#endif  // PHALANX_CLIENT_CANCELLATION_H_
