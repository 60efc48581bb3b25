#include "coordinator/server/text_pool.h"

#include <atomic>
#include <future>
#include <memory>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kLong = 1000;

TextPool::Options SmallOptions() {
  return {.threads = 1, .max_queued = 3, .max_queued_bytes = 5000, .long_text_bytes = kLong};
}

// Occupies the only thread for all texts until it is released. May die before the pool whose thread
// it held: what they share belongs to both.
class Blocker {
 public:
  explicit Blocker(TextPool& pool) {
    const auto begun = std::make_shared<std::promise<void>>();
    EXPECT_TRUE(pool.Submit(this, kLong,
                            [begun, released = release_.get_future().share()] {
                              begun->set_value();
                              released.wait();
                            })
                    .ok());
    begun->get_future().wait();
  }
  void Release() { release_.set_value(); }

 private:
  std::promise<void> release_;
};

TEST(TextPoolTest, RunsEveryTaskBeforeItDies) {
  std::atomic<int> runs = 0;
  {
    TextPool pool({.threads = 3, .max_queued = 1000, .long_text_bytes = kLong});
    for (int i = 0; i < 1000; ++i) {
      ASSERT_TRUE(pool.Submit(nullptr, i % 2 == 0 ? 1 : kLong, [&] { ++runs; }).ok());
    }
  }
  EXPECT_EQ(runs, 1000);
}

TEST(TextPoolTest, AShortTextDoesNotWaitForALongOne) {
  std::promise<void> long_ran, short_ran;
  TextPool pool(SmallOptions());
  Blocker blocker(pool);
  ASSERT_TRUE(pool.Submit(nullptr, kLong, [&] { long_ran.set_value(); }).ok());
  ASSERT_TRUE(pool.Submit(nullptr, kLong - 1, [&] { short_ran.set_value(); }).ok());
  short_ran.get_future().wait();
  std::future<void> long_done = long_ran.get_future();
  EXPECT_EQ(long_done.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
  blocker.Release();
  long_done.wait();
}

TEST(TextPoolTest, ALongTextIsNotLeftBehindByShortOnes) {
  std::promise<void> long_ran;
  std::atomic<bool> stop = false;
  std::function<void()> again;
  TextPool pool({.threads = 1, .max_queued = 1000, .long_text_bytes = kLong});
  Blocker blocker(pool);
  ASSERT_TRUE(pool.Submit(nullptr, kLong,
                          [&] {
                            stop = true;
                            long_ran.set_value();
                          })
                  .ok());
  // Each short text brings the next.
  again = [&] {
    if (!stop) pool.Submit(nullptr, 1, again).IgnoreError();
  };
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(pool.Submit(nullptr, 1, again).ok());
  blocker.Release();
  long_ran.get_future().wait();
}

TEST(TextPoolTest, IsBoundedByCount) {
  TextPool pool(SmallOptions());
  Blocker blocker(pool);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(pool.Submit(nullptr, kLong, [] {}).ok());
  bool refused_ran = false;
  const absl::Status status = pool.Submit(nullptr, kLong, [&] { refused_ran = true; });
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "3 texts wait to be tokenized, the limit (--max_queued_texts)");
  blocker.Release();
  EXPECT_FALSE(refused_ran);
}

TEST(TextPoolTest, IsBoundedByBytes) {
  TextPool pool(SmallOptions());
  Blocker blocker(pool);
  EXPECT_TRUE(pool.Submit(nullptr, 3000, [] {}).ok());
  const absl::Status status = pool.Submit(nullptr, 2001, [] {});
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("limit of 5000 (--max_queued_text_bytes)"));
  EXPECT_TRUE(pool.Submit(nullptr, 2000, [] {}).ok());
  blocker.Release();
}

TEST(TextPoolTest, ATextAboveTheBoundIsTakenWhenNothingWaits) {
  TextPool pool(SmallOptions());
  Blocker blocker(pool);
  EXPECT_TRUE(pool.Submit(nullptr, 6000, [] {}).ok());
  EXPECT_FALSE(pool.Submit(nullptr, kLong, [] {}).ok());
  blocker.Release();
}

TEST(TextPoolTest, ARemovedTaskIsNotRunAndLeavesRoom) {
  bool removed_ran = false;
  auto held = std::make_shared<int>(0);
  const int owner = 0, other = 0;
  {
    TextPool pool(SmallOptions());
    Blocker blocker(pool);
    ASSERT_TRUE(pool.Submit(&owner, 5000, [&removed_ran, held] { removed_ran = true; }).ok());
    EXPECT_FALSE(pool.Submit(&other, kLong, [] {}).ok());
    EXPECT_FALSE(pool.Remove(&other));
    EXPECT_TRUE(pool.Remove(&owner));
    EXPECT_EQ(held.use_count(), 1);
    EXPECT_FALSE(pool.Remove(&owner));
    EXPECT_TRUE(pool.Submit(&other, 5000, [] {}).ok());
    EXPECT_FALSE(pool.Remove(&blocker)) << "it runs already";
    blocker.Release();
  }
  EXPECT_FALSE(removed_ran);
}

}  // namespace
}  // namespace phalanx
