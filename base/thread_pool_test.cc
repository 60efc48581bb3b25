#include "base/thread_pool.h"

#include <atomic>
#include <future>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

TEST(ThreadPoolTest, RunsEveryTaskBeforeItDies) {
  std::atomic<int> runs = 0;
  {
    ThreadPool pool("test", 3, 1000);
    for (int i = 0; i < 1000; ++i) {
      ASSERT_TRUE(pool.Submit([&] { ++runs; }).ok());
    }
  }
  EXPECT_EQ(runs, 1000);
}

TEST(ThreadPoolTest, RefusesATaskThatDoesNotFit) {
  std::promise<void> begun;
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  bool refused_ran = false;
  {
    ThreadPool pool("test", 1, 1);
    ASSERT_TRUE(pool.Submit([&begun, released] {
                      begun.set_value();
                      released.wait();
                    })
                    .ok());
    begun.get_future().wait();
    EXPECT_TRUE(pool.Submit([] {}).ok()) << "the queue has one place";
    EXPECT_EQ(pool.Submit([&] { refused_ran = true; }).code(),
              absl::StatusCode::kResourceExhausted);
    release.set_value();
  }
  EXPECT_FALSE(refused_ran);
}

TEST(ThreadPoolTest, TasksRunAtOnceOnSeveralThreads) {
  ThreadPool pool("test", 2, 2);
  std::promise<void> first;
  std::promise<void> second;
  std::promise<void> met;
  ASSERT_TRUE(pool.Submit([&] {
                    first.set_value();
                    second.get_future().wait();
                    met.set_value();
                  })
                  .ok());
  ASSERT_TRUE(pool.Submit([&] {
                    first.get_future().wait();
                    second.set_value();
                  })
                  .ok());
  met.get_future().wait();
}

}  // namespace
}  // namespace phalanx
