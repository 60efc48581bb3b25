// Abseil's waits in a program that links monotonic_futex, while the wall clock is set.
#include <thread>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/testing/movable_wall_clock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

constexpr absl::Duration kShort = absl::Milliseconds(50);
constexpr absl::Duration kLong = absl::Minutes(1);

// A thread that waits with a condition variable of Abseil.
class Waiter {
 public:
  explicit Waiter(absl::Duration timeout)
      : thread_([this, timeout] {
          absl::MutexLock lock(&mutex_);
          const absl::Time start = MonotonicClock()->Now();
          while (!told_ && !timed_out_) timed_out_ = changed_.WaitWithTimeout(&mutex_, timeout);
          waited_ = MonotonicClock()->Now() - start;
        }) {
    while (TimedWaits() == 0) std::this_thread::yield();
  }

  void Tell() {
    absl::MutexLock lock(&mutex_);
    told_ = true;
    changed_.SignalAll();
  }

  // Returns how long it waited.
  absl::Duration Join() {
    thread_.join();
    return waited_;
  }

  // To be called after Join.
  bool timed_out() const { return timed_out_; }

 private:
  absl::Mutex mutex_;
  absl::CondVar changed_;
  bool told_ = false;
  bool timed_out_ = false;
  absl::Duration waited_;
  std::thread thread_;
};

TEST(MonotonicFutexTest, NoWaitFollowsTheWallClock) {
  Waiter waiter(kLong);
  EXPECT_EQ(WallClockWaits(), 0);
  waiter.Tell();
  waiter.Join();
}

TEST(MonotonicFutexTest, SetBackTheClockProlongsNoWait) {
  Waiter waiter(kShort);
  MoveWallClock(-absl::Hours(1));
  EXPECT_LT(waiter.Join(), absl::Minutes(30));
  EXPECT_TRUE(waiter.timed_out());
}

TEST(MonotonicFutexTest, SetForwardTheClockEndsNoWait) {
  Waiter waiter(kShort);
  MoveWallClock(absl::Hours(1));
  EXPECT_GE(waiter.Join(), kShort);
}

TEST(MonotonicFutexTest, WhatIsWaitedForEndsAWait) {
  for (const int hours : {1, -1}) {
    Waiter waiter(kLong);
    MoveWallClock(absl::Hours(hours));
    waiter.Tell();
    waiter.Join();
    EXPECT_FALSE(waiter.timed_out());
  }
}

TEST(MonotonicFutexTest, ADeadlineOfTheTimeBeforeEndsAWait) {
  absl::Mutex mutex;
  absl::CondVar never;
  absl::MutexLock lock(&mutex);
  never.WaitWithTimeout(&mutex, absl::Milliseconds(1));
  for (const absl::Duration timeout : {kShort, -kShort}) {
    const absl::Time deadline = absl::Now() + timeout;
    MoveWallClock(-absl::Hours(1));
    const absl::Time start = MonotonicClock()->Now();
    EXPECT_TRUE(never.WaitWithDeadline(&mutex, deadline));
    EXPECT_LT(MonotonicClock()->Now() - start, absl::Minutes(30));
  }
}

TEST(MonotonicFutexTest, ADeadlineOfTheTimeAfterEndsNoWaitEarly) {
  absl::Mutex mutex;
  absl::CondVar never;
  absl::MutexLock lock(&mutex);
  never.WaitWithTimeout(&mutex, absl::Milliseconds(1));
  MoveWallClock(-absl::Hours(1));
  const absl::Time start = MonotonicClock()->Now();
  EXPECT_TRUE(never.WaitWithTimeout(&mutex, kShort));
  EXPECT_GE(MonotonicClock()->Now() - start, kShort);
}

TEST(MonotonicFutexTest, APastDeadlineEndsAtOnce) {
  absl::Mutex mutex;
  absl::CondVar never;
  absl::MutexLock lock(&mutex);
  EXPECT_TRUE(never.WaitWithDeadline(&mutex, absl::Now() - absl::Seconds(1)));
  EXPECT_TRUE(never.WaitWithDeadline(&mutex, absl::UnixEpoch() + absl::Seconds(1)));
}

}  // namespace
}  // namespace phalanx
