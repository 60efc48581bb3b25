#include "coordinator/routing/target_watcher.h"

#include <map>
#include <thread>

#include "base/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;

using Addresses = absl::StatusOr<std::vector<std::string>>;

// A name service: answers by name; a name without an answer blocks until it gets one.
class FakeNames {
 public:
  void Set(const std::string& name, Addresses addresses) {
    MutexLock lock(&mutex_);
    answers_.insert_or_assign(name, std::move(addresses));
    changed_.SignalAll();
  }

  Addresses Resolve(const HostPort& target) {
    MutexLock lock(&mutex_);
    ++calls_[target.host];
    changed_.SignalAll();
    while (!answers_.contains(target.host)) changed_.Wait(&mutex_);
    return answers_.at(target.host);
  }

  void WaitForCalls(const std::string& name, int calls) {
    MutexLock lock(&mutex_);
    while (calls_[name] < calls) changed_.Wait(&mutex_);
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::map<std::string, Addresses> answers_ GUARDED_BY(mutex_);
  std::map<std::string, int> calls_ GUARDED_BY(mutex_);
};

class TargetWatcherTest : public ::testing::Test {
 protected:
  std::unique_ptr<TargetWatcher> Watch(std::vector<HostPort> targets,
                                       absl::Duration interval = absl::InfiniteDuration()) {
    // A call may outlive test and watcher.
    return std::make_unique<TargetWatcher>(
        std::move(targets),
        [names = names_](const HostPort& target) { return names->Resolve(target); }, interval);
  }

  // The first set of `size` addresses.
  static std::vector<std::string> AwaitSize(TargetWatcher& watcher, size_t size) {
    while (true) {
      std::optional<std::vector<std::string>> addresses = watcher.Next();
      if (addresses->size() == size) return *addresses;
    }
  }

  const std::shared_ptr<FakeNames> names_ = std::make_shared<FakeNames>();
};

TEST_F(TargetWatcherTest, MergesTargets) {
  names_->Set("a", std::vector<std::string>{"10.0.0.2:1", "10.0.0.1:1"});
  names_->Set("b", std::vector<std::string>{"10.0.0.2:1", "[::1]:1"});
  const auto watcher = Watch({{"a", 1}, {"b", 1}});
  EXPECT_THAT(AwaitSize(*watcher, 3), ElementsAre("10.0.0.1:1", "10.0.0.2:1", "[::1]:1"));
}

TEST_F(TargetWatcherTest, ANameWithoutAnAnswerDelaysNeitherTheOthersNorTheEnd) {
  names_->Set("b", std::vector<std::string>{"10.0.0.2:1"});
  names_->Set("c", std::vector<std::string>{"10.0.0.3:1"});
  auto watcher = Watch({{"a", 1}, {"b", 1}, {"c", 1}});
  EXPECT_THAT(AwaitSize(*watcher, 2), ElementsAre("10.0.0.2:1", "10.0.0.3:1"));
  names_->WaitForCalls("a", 1);
  watcher.reset();
  // The call that is left returns to nobody.
  names_->Set("a", std::vector<std::string>{"10.0.0.1:1"});
}

TEST_F(TargetWatcherTest, ANameThatAnswersLateIsTakenUp) {
  names_->Set("b", std::vector<std::string>{"10.0.0.2:1"});
  const auto watcher = Watch({{"a", 1}, {"b", 1}});
  EXPECT_THAT(AwaitSize(*watcher, 1), ElementsAre("10.0.0.2:1"));
  names_->Set("a", std::vector<std::string>{"10.0.0.1:1"});
  EXPECT_THAT(AwaitSize(*watcher, 2), ElementsAre("10.0.0.1:1", "10.0.0.2:1"));
}

TEST_F(TargetWatcherTest, KeepsTheLastAnswerOfATargetThatFails) {
  names_->Set("a", std::vector<std::string>{"10.0.0.1:1"});
  names_->Set("b", std::vector<std::string>{"10.0.0.2:1"});
  const auto watcher = Watch({{"a", 1}, {"b", 1}}, absl::Milliseconds(1));
  AwaitSize(*watcher, 2);
  names_->Set("a", absl::UnavailableError("no name service"));
  names_->Set("b", std::vector<std::string>{"10.0.0.2:1", "10.0.0.3:1"});
  EXPECT_THAT(AwaitSize(*watcher, 3), ElementsAre("10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"));
}

TEST_F(TargetWatcherTest, ComesBackWithoutNewsAsWell) {
  const auto watcher = Watch({{"silent", 1}}, absl::Milliseconds(1));
  EXPECT_THAT(watcher->Next(), ::testing::Optional(::testing::IsEmpty()));
  names_->Set("silent", std::vector<std::string>{});
}

TEST_F(TargetWatcherTest, StopEndsNext) {
  const auto watcher = Watch({{"silent", 1}});
  std::thread stopper([&] { watcher->Stop(); });
  EXPECT_EQ(watcher->Next(), std::nullopt);
  stopper.join();
  EXPECT_EQ(watcher->Next(), std::nullopt);
  names_->Set("silent", std::vector<std::string>{});
}

}  // namespace
}  // namespace phalanx
