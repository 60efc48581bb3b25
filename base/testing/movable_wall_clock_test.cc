// That the movable wall clock does what the kernel does, seen by a wait of Abseil: this program
// does not link monotonic_futex. If an Abseil to come no longer waits for the wall clock, this
// fails and monotonic_futex can go.
#include "base/testing/movable_wall_clock.h"

#include <atomic>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

// A thread that waits for a time of the wall clock.
class Waiter {
 public:
  explicit Waiter(absl::Duration timeout)
      : thread_([this, timeout] {
          absl::Mutex mutex;
          absl::CondVar never;
          {
            absl::MutexLock lock(&mutex);
            never.WaitWithTimeout(&mutex, timeout);
          }
          MutexLock lock(&mutex_);
          done_ = true;
          changed_.SignalAll();
        }) {
    while (WallClockWaits() == 0) std::this_thread::yield();
  }
  ~Waiter() { thread_.join(); }

  bool IsDoneWithin(absl::Duration timeout) {
    const absl::Time end = MonotonicClock()->Now() + timeout;
    MutexLock lock(&mutex_);
    while (!done_ && MonotonicClock()->Now() < end) changed_.WaitFor(&mutex_, timeout);
    return done_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool done_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

TEST(MovableWallClockTest, IsSetByWhatItWasMoved) {
  for (const int hours : {1, -1}) {
    const absl::Time wall = absl::Now();
    const absl::Time monotonic = MonotonicClock()->Now();
    MoveWallClock(absl::Hours(hours));
    const absl::Duration moved = absl::Now() - wall;
    EXPECT_LT(absl::AbsDuration(moved - absl::Hours(hours)), absl::Minutes(1));
    EXPECT_LT(MonotonicClock()->Now() - monotonic, absl::Minutes(1));
  }
}

TEST(MovableWallClockTest, SetBackItProlongsAWait) {
  Waiter waiter(absl::Milliseconds(100));
  MoveWallClock(-absl::Hours(1));
  EXPECT_FALSE(waiter.IsDoneWithin(absl::Milliseconds(500)));
  MoveWallClock(absl::Hours(1));
  EXPECT_TRUE(waiter.IsDoneWithin(absl::Minutes(1)));
}

TEST(MovableWallClockTest, SetForwardItEndsAWait) {
  Waiter waiter(absl::Minutes(30));
  MoveWallClock(absl::Hours(1));
  EXPECT_TRUE(waiter.IsDoneWithin(absl::Minutes(1)));
}

}  // namespace
}  // namespace phalanx
