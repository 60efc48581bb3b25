// The wall clock is set while somebody waits: nobody may notice.
#include <chrono>
#include <thread>

#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/shutdown_signal.h"
#include "base/testing/wall_clock_steps.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

constexpr absl::Duration kLong = absl::Minutes(1);
constexpr absl::Duration kShort = absl::Milliseconds(1);

// If the clock is set forwards, a wait of a minute must not end at once. If it is set backwards, a
// wait of a millisecond must not take hours.
class WallClockTest : public testing::TestWithParam<int> {
 protected:
  WallClockSteps steps_{absl::Hours(GetParam())};
};

TEST_P(WallClockTest, IsSetIndeed) {
  const absl::Time before = absl::Now();
  const absl::Duration moved = absl::Now() - before;
  EXPECT_GT(absl::AbsDuration(moved), absl::Minutes(59));
  const auto system_before = std::chrono::system_clock::now();
  EXPECT_NE((std::chrono::system_clock::now() - system_before) / std::chrono::minutes(59), 0);
  const absl::Time monotonic = MonotonicClock()->Now();
  EXPECT_LT(MonotonicClock()->Now() - monotonic, kLong);
}

TEST_P(WallClockTest, AConditionVariableWaitsItsTime) {
  Mutex mutex;
  CondVar changed;
  bool done = false;
  std::thread other([&] {
    MutexLock lock(&mutex);
    done = true;
    changed.SignalAll();
  });
  {
    MutexLock lock(&mutex);
    const absl::Time start = MonotonicClock()->Now();
    while (!changed.WaitFor(&mutex, kShort)) {
    }
    EXPECT_GE(MonotonicClock()->Now() - start, kShort);
    bool timed_out = false;
    while (!done) timed_out = changed.WaitFor(&mutex, kLong);
    EXPECT_FALSE(timed_out);
  }
  other.join();
}

TEST_P(WallClockTest, AShutdownSignalWaitsItsTime) {
  ShutdownSignal shutdown;
  EXPECT_EQ(shutdown.Wait(kShort), -1);
  std::thread notifier([&] { shutdown.Notify(); });
  EXPECT_EQ(shutdown.Wait(kLong), 0);
  notifier.join();
}

INSTANTIATE_TEST_SUITE_P(Steps, WallClockTest, testing::Values(1, -1), [](const auto& info) {
  return info.param > 0 ? "Forwards" : "Backwards";
});

}  // namespace
}  // namespace phalanx
