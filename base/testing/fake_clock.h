// A clock that moves when a test says so.
#ifndef PHALANX_BASE_TESTING_FAKE_CLOCK_H_
#define PHALANX_BASE_TESTING_FAKE_CLOCK_H_

#include "base/clock.h"
#include "base/mutex.h"

namespace phalanx {

// Thread-safe. Starts at the Unix epoch plus one hour.
class FakeClock final : public Clock {
 public:
  absl::Time Now() const override {
    MutexLock lock(&mutex_);
    return now_;
  }

  void Advance(absl::Duration duration) {
    MutexLock lock(&mutex_);
    now_ += duration;
  }

 private:
  mutable Mutex mutex_;
  absl::Time now_ GUARDED_BY(mutex_) = absl::UnixEpoch() + absl::Hours(1);
};

}  // namespace phalanx

#endif  // PHALANX_BASE_TESTING_FAKE_CLOCK_H_
