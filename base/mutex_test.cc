#include "base/mutex.h"

#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

struct Counter {
  Mutex mutex;
  CondVar changed;
  int value GUARDED_BY(mutex) = 0;
};

TEST(MutexTest, KeepsThreadsApart) {
  Counter counter;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10000; ++i) {
        MutexLock lock(&counter.mutex);
        ++counter.value;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  MutexLock lock(&counter.mutex);
  EXPECT_EQ(counter.value, 40000);
}

TEST(CondVarTest, WakesWhoWaits) {
  Counter counter;
  std::thread waiter([&] {
    MutexLock lock(&counter.mutex);
    while (counter.value == 0) counter.changed.Wait(&counter.mutex);
    counter.value = 2;
    counter.changed.SignalAll();
  });
  {
    MutexLock lock(&counter.mutex);
    counter.value = 1;
    counter.changed.Signal();
    while (counter.value != 2) {
      ASSERT_FALSE(counter.changed.WaitFor(&counter.mutex, absl::InfiniteDuration()));
    }
  }
  waiter.join();
}

TEST(CondVarTest, StopsWaitingAtTheTimeout) {
  Counter counter;
  MutexLock lock(&counter.mutex);
  while (!counter.changed.WaitFor(&counter.mutex, absl::Milliseconds(1))) {
  }
}

}  // namespace
}  // namespace phalanx
