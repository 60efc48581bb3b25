#include "coordinator/routing/worker_pool.h"

#include <set>

#include "base/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class NullSession final : public GroupSession {
 public:
  void Submit(const EngineRequest&) override {}
  void Cancel(uint64_t) override {}
};

class NullSink final : public GenerationSink {
 public:
  void OnStarted() override {}
  void OnCachedTokens(int cached_tokens) override {}
  void OnDraft(int drafted, int accepted) override {}
  void OnAccepted() override {}
  void OnTokens(absl::Span<const int32_t>, absl::Span<const TokenLogProbs>) override {}
  void OnLogProbs(absl::Span<const float> log_probs) override {}
  void OnFinished(const EngineFinish&) override {}
  void OnFailed(const absl::Status&) override {}
};

// Serves from construction to destruction, and tells which addresses are connected.
class FakeConnection final : public GroupConnection {
 public:
  FakeConnection(GroupRegistry* registry, GroupId group, std::string address,
                 std::multiset<std::string>* connected)
      : registry_(registry), group_(group), address_(std::move(address)), connected_(connected) {
    connected_->insert(address_);
    registry_->SessionStarted(group_, std::make_shared<NullSession>());
    EXPECT_TRUE(registry_->HelloReceived(group_, {.context_tokens = 64, .world = 1}).ok());
    registry_->HealthChanged(group_, true);
  }
  ~FakeConnection() override {
    registry_->SessionEnded(group_, absl::CancelledError("closed"));
    connected_->erase(address_);
  }

 private:
  GroupRegistry* const registry_;
  const GroupId group_;
  const std::string address_;
  std::multiset<std::string>* const connected_;
};

class GroupSetTest : public ::testing::Test {
 protected:
  GroupConnectionFactory Factory() {
    return [this](const std::string& address, GroupId group) {
      return std::make_unique<FakeConnection>(&registry_, group, address, &connected_);
    };
  }

  std::multiset<std::string> connected_;
  GroupRegistry registry_{{.vocab = 10}, MonotonicClock(), [] {}};
};

TEST_F(GroupSetTest, ConnectsToEachAddressOnce) {
  GroupSet groups(&registry_, Factory());
  groups.Update({"a:1", "b:1"});
  groups.Update({"a:1", "b:1"});
  EXPECT_THAT(connected_, ElementsAre("a:1", "b:1"));
  EXPECT_EQ(registry_.CountGroups(GroupState::kServing), 2);
}

TEST_F(GroupSetTest, DropsAnIdleGroupWhoseAddressVanished) {
  GroupSet groups(&registry_, Factory());
  groups.Update({"a:1", "b:1"});
  groups.Update({"b:1"});
  EXPECT_THAT(connected_, ElementsAre("b:1"));
}

TEST_F(GroupSetTest, DropsAllGroupsWhoseAddressesVanishedAtOnce) {
  GroupSet groups(&registry_, Factory());
  groups.Update({"a:1", "b:1", "c:1"});
  groups.Update({"b:1"});
  EXPECT_THAT(connected_, ElementsAre("b:1"));
}

TEST_F(GroupSetTest, ABusyGroupStaysUntilItIsDoneOrBack) {
  GroupSet groups(&registry_, Factory());
  groups.Update({"a:1"});
  EngineRequest request;
  request.prompt_token_ids = {1};
  request.max_new_tokens = 1;
  const uint64_t id = *registry_.Submit(request, std::make_shared<NullSink>());
  groups.Update({});
  EXPECT_THAT(connected_, ElementsAre("a:1"));
  EXPECT_EQ(registry_.CountGroups(GroupState::kServing), 0);
  groups.Update({"a:1"});
  EXPECT_EQ(registry_.CountGroups(GroupState::kServing), 1);
  groups.Update({});
  registry_.Cancel(id);
  groups.Update({});
  EXPECT_THAT(connected_, IsEmpty());
}

TEST_F(GroupSetTest, EndsAllConnectionsWithItself) {
  {
    WorkerPool pool({.resolve_interval = absl::Hours(1)}, &registry_, Factory(), {{"a", 1}},
                    [](const HostPort&) {
                      return std::vector<std::string>{"a:1", "b:1"};
                    });
  }
  EXPECT_THAT(connected_, IsEmpty());
  EXPECT_EQ(registry_.CountGroups(GroupState::kServing), 0);
}

}  // namespace
}  // namespace phalanx
