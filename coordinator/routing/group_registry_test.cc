#include "coordinator/routing/group_registry.h"

#include <string>
#include <thread>
#include <vector>

#include "coordinator/routing/testing/registry_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using GroupRegistryTest = RegistryTest;

TEST_F(GroupRegistryTest, AGroupServesOnceItGreetedAndIsHealthy) {
  const GroupId id = registry_.Add("a:1");
  EXPECT_EQ(registry_.CountGroups(GroupState::kConnecting), 1);
  EXPECT_EQ(registry_.Submit(Request(), nullptr).status().code(), absl::StatusCode::kUnavailable);

  registry_.SessionStarted(id, std::make_shared<FakeSession>());
  EXPECT_EQ(registry_.CountGroups(GroupState::kConnecting), 1);
  EXPECT_TRUE(
      registry_.HelloReceived(id, {.model_fingerprint = "feed", .context_tokens = 64, .world = 1})
          .ok());
  EXPECT_EQ(registry_.CountGroups(GroupState::kNotServing), 1);
  EXPECT_EQ(registry_.ServingContextTokens(), 0);
  registry_.HealthChanged(id, true);
  EXPECT_EQ(registry_.CountGroups(GroupState::kServing), 1);
  EXPECT_EQ(registry_.ServingContextTokens(), 64);
  EXPECT_EQ(changes_, 3);
}

TEST_F(GroupRegistryTest, RefusesAGroupWithAnotherModel) {
  const GroupId id = registry_.Add("a:1");
  registry_.SessionStarted(id, std::make_shared<FakeSession>());
  const absl::Status status = registry_.HelloReceived(
      id, {.model_name = "other", .model_fingerprint = "beef", .context_tokens = 64, .world = 1});
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(),
            "worker group a:1 serves \"other\" with fingerprint beef, this coordinator has "
            "fingerprint feed");
  registry_.HealthChanged(id, true);
  EXPECT_EQ(registry_.CountGroups(GroupState::kRefused), 1);
  registry_.SessionEnded(id, status);
  EXPECT_EQ(registry_.CountGroups(GroupState::kRefused), 1);
  EXPECT_EQ(registry_.Submit(Request(), nullptr).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(GroupRegistryTest, RefusesAGroupWithOtherWeightsThanTheOnesBefore) {
  const Worker a = Connect("a:1");
  EXPECT_EQ(registry_.ServingWeightsDigest(), "cafe");
  const GroupId b = registry_.Add("b:1");
  const auto greet_b = [&](const char* digest) {
    registry_.SessionStarted(b, std::make_shared<FakeSession>());
    const absl::Status status = registry_.HelloReceived(
        b, {.model_fingerprint = "feed", .context_tokens = 64, .weights_digest = digest});
    if (!status.ok()) registry_.SessionEnded(b, status);
    return status;
  };
  const absl::Status status = greet_b("babe");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("b:1 has other weights than worker group a:1"),
                    HasSubstr("babe instead of cafe")));
  EXPECT_EQ(registry_.CountGroups(GroupState::kRefused), 1);
  // Nor when the two take turns.
  Disconnect(a);
  EXPECT_FALSE(greet_b("babe").ok());
  EXPECT_EQ(registry_.ServingWeightsDigest(), "");
  EXPECT_TRUE(greet_b("cafe").ok());
  EXPECT_EQ(registry_.CountGroups(GroupState::kRefused), 0);
}

TEST_F(GroupRegistryTest, TellsTheWeakestLevelOfDeterminism) {
  EXPECT_EQ(registry_.ServingDeterminism(), Determinism::kUnknown);
  const auto connect = [&](const char* address, Determinism level) {
    const GroupId id = registry_.Add(address);
    registry_.SessionStarted(id, std::make_shared<FakeSession>());
    const GroupHello hello = {
        .model_fingerprint = "feed", .weights_digest = "cafe", .determinism = level};
    EXPECT_TRUE(registry_.HelloReceived(id, hello).ok());
    registry_.HealthChanged(id, true);
    return id;
  };
  connect("a:1", Determinism::kStrict);
  EXPECT_EQ(registry_.ServingDeterminism(), Determinism::kStrict);
  const GroupId fast = connect("b:1", Determinism::kFast);
  EXPECT_EQ(registry_.ServingDeterminism(), Determinism::kFast);
  const GroupId old = connect("c:1", Determinism::kUnknown);
  EXPECT_EQ(registry_.ServingDeterminism(), Determinism::kUnknown);
  registry_.HealthChanged(old, false);
  registry_.HealthChanged(fast, false);
  EXPECT_EQ(registry_.ServingDeterminism(), Determinism::kStrict);
}

TEST_F(GroupRegistryTest, TellsTheFeaturesThatAnyServingGroupHas) {
  EXPECT_EQ(registry_.ServingFeatures(), std::nullopt);
  const Worker a = Connect("a:1", 1000, {"constraint", "score"});
  const Worker old = Connect("b:1", 1000, {});
  EXPECT_EQ(registry_.ServingFeatures(), (std::set<std::string>{"constraint", "score"}));
  registry_.HealthChanged(a.id, false);
  EXPECT_EQ(registry_.ServingFeatures(), std::set<std::string>());
  registry_.HealthChanged(old.id, false);
  EXPECT_EQ(registry_.ServingFeatures(), std::nullopt);
}

TEST_F(GroupRegistryTest, TellsEachArithmeticOfServingGroupsOnce) {
  EXPECT_TRUE(registry_.ServingArithmetic().empty());
  const auto connect = [&](const char* address, const char* arithmetic) {
    const GroupId id = registry_.Add(address);
    registry_.SessionStarted(id, std::make_shared<FakeSession>());
    const GroupHello hello = {
        .model_fingerprint = "feed", .weights_digest = "cafe", .arithmetic = arithmetic};
    EXPECT_TRUE(registry_.HelloReceived(id, hello).ok());
    registry_.HealthChanged(id, true);
    return id;
  };
  connect("a:1", "avx512_vnni int8");
  connect("b:1", "avx512_vnni int8");
  const GroupId other = connect("c:1", "avx2 int8");
  connect("d:1", "");  // Older than the field.
  EXPECT_EQ(registry_.ServingArithmetic(),
            (std::vector<std::string>{"avx2 int8", "avx512_vnni int8"}));
  registry_.HealthChanged(other, false);
  EXPECT_EQ(registry_.ServingArithmetic(), (std::vector<std::string>{"avx512_vnni int8"}));
}

TEST_F(GroupRegistryTest, WeightsMayChangeOnceNoGroupOnTheListHasTheOldOnes) {
  const Worker a = Connect("a:1"), b = Connect("b:1");
  const auto greet = [&](GroupId id, const char* digest) {
    registry_.SessionStarted(id, std::make_shared<FakeSession>());
    const absl::Status status = registry_.HelloReceived(
        id, {.model_fingerprint = "feed", .context_tokens = 64, .weights_digest = digest});
    if (!status.ok()) registry_.SessionEnded(id, status);
    return status;
  };
  // One address after the other starts again with new weights: the last one decides.
  Disconnect(a);
  EXPECT_FALSE(greet(a.id, "babe").ok());
  Disconnect(b);
  EXPECT_TRUE(greet(b.id, "babe").ok());
  EXPECT_TRUE(greet(a.id, "babe").ok());
  // Where groups come under new addresses, those that leave do not count.
  const GroupId c = registry_.Add("c:1");
  EXPECT_FALSE(greet(c, "beef").ok());
  registry_.SetRetired(a.id, true);
  EXPECT_FALSE(greet(c, "beef").ok());
  Disconnect(b);
  registry_.Remove(b.id);
  EXPECT_TRUE(greet(c, "beef").ok());
}

TEST_F(GroupRegistryTest, SpreadsRequestsOverEqualGroups) {
  const Worker a = Connect("a:1"), b = Connect("b:1");
  std::vector<uint64_t> ids;
  for (int i = 0; i < 6; ++i)
    ids.push_back(*registry_.Submit(Request(), std::make_shared<FakeSink>()));
  EXPECT_EQ(a.session->submitted().size(), 3u);
  EXPECT_EQ(b.session->submitted().size(), 3u);
  for (const uint64_t id : ids) registry_.Cancel(id);
}

TEST_F(GroupRegistryTest, CountsWhatOtherCoordinatorsSentAsLongAsTheReportIsFresh) {
  const Worker a = Connect("a:1"), b = Connect("b:1");
  registry_.StepReceived(a.id, {}, {.running_requests = 3, .waiting_requests = 1});
  for (int i = 0; i < 4; ++i) {
    registry_.Cancel(*registry_.Submit(Request(), std::make_shared<FakeSink>()));
  }
  EXPECT_THAT(a.session->submitted(), IsEmpty());
  clock_.Advance(absl::Seconds(3));
  registry_.Cancel(*registry_.Submit(Request(), std::make_shared<FakeSink>()));
  EXPECT_EQ(a.session->submitted().size(), 1u);
}

TEST_F(GroupRegistryTest, WhatOthersHaveWaitingWeighsAsMuchAsWhatRuns) {
  const Worker a = Connect("a:1"), b = Connect("b:1");
  registry_.StepReceived(a.id, {}, {.running_requests = 2, .waiting_requests = 2});
  registry_.StepReceived(b.id, {}, {.running_requests = 3, .waiting_requests = 0});
  registry_.Cancel(*registry_.Submit(Request(), std::make_shared<FakeSink>()));
  EXPECT_THAT(a.session->submitted(), IsEmpty());
  EXPECT_EQ(b.session->submitted().size(), 1u);
}

TEST_F(GroupRegistryTest, AGroupThatHasNotReportedIsTakenForIdle) {
  const Worker a = Connect("a:1");
  registry_.Cancel(*registry_.Submit(Request(), std::make_shared<FakeSink>()));
  registry_.StepReceived(a.id, {}, {});
  const Worker b = Connect("b:1");
  registry_.Cancel(*registry_.Submit(Request(), std::make_shared<FakeSink>()));
  EXPECT_EQ(b.session->submitted().size(), 1u) << "equal load, and it had fewer so far";
}

TEST_F(GroupRegistryTest, APromptWeighsUntilItsFirstToken) {
  const Worker a = Connect("a:1"), b = Connect("b:1");
  const uint64_t heavy = *registry_.Submit(Request(900), std::make_shared<FakeSink>());
  EXPECT_THAT(a.session->submitted(), ElementsAre(heavy));
  const uint64_t second = *registry_.Submit(Request(), std::make_shared<FakeSink>());
  const uint64_t third = *registry_.Submit(Request(), std::make_shared<FakeSink>());
  EXPECT_THAT(b.session->submitted(), ElementsAre(second, third));

  const std::vector<int32_t> token = {1};
  registry_.StepReceived(a.id, {{.request_id = heavy, .token_ids = token}}, {});
  const uint64_t fourth = *registry_.Submit(Request(), std::make_shared<FakeSink>());
  EXPECT_THAT(a.session->submitted(), ElementsAre(heavy, fourth));
  Disconnect(a);
  Disconnect(b);
}

TEST_F(GroupRegistryTest, SendsOnlyWhatFitsTheGroupsContext) {
  const Worker small = Connect("a:1", 16), large = Connect("b:1", 64);
  const uint64_t id = *registry_.Submit(Request(20, 40), std::make_shared<FakeSink>());
  EXPECT_THAT(large.session->submitted(), ElementsAre(id));
  const absl::Status status = registry_.Submit(Request(20, 45), nullptr).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("max_new_tokens: prompt and answer need 65"));
  registry_.Cancel(id);
}

TEST_F(GroupRegistryTest, DeliversTokensAndOneEnd) {
  const Worker worker = Connect("a:1");
  const auto sink = std::make_shared<FakeSink>();
  const uint64_t id = *registry_.Submit(Request(), sink);
  const std::vector<int32_t> first = {3, 4}, last = {5};
  registry_.StepReceived(worker.id, {{.request_id = id, .token_ids = first}}, {});
  EXPECT_EQ(registry_.OutstandingRequests(worker.id), 1);
  const EngineEvent end = {.request_id = id,
                           .first_token_index = 2,
                           .token_ids = last,
                           .finished = EngineFinish{.reason = EngineFinish::Reason::kEos}};
  registry_.StepReceived(worker.id, {end}, {});
  // What a worker says after its last event of a request is dropped.
  registry_.StepReceived(worker.id, {end}, {});
  EXPECT_THAT(sink->tokens, ElementsAre(3, 4, 5));
  EXPECT_EQ(sink->ends, 1);
  EXPECT_EQ(sink->reason, EngineFinish::Reason::kEos);
  EXPECT_EQ(registry_.OutstandingRequests(worker.id), 0);
}

TEST_F(GroupRegistryTest, PassesTheEnginesErrorOn) {
  const Worker worker = Connect("a:1");
  const auto sink = std::make_shared<FakeSink>();
  const uint64_t id = *registry_.Submit(Request(), sink);
  registry_.StepReceived(
      worker.id, {{.request_id = id, .error = absl::ResourceExhaustedError("queue full")}}, {});
  EXPECT_EQ(sink->status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(registry_.OutstandingRequests(worker.id), 0);
}

TEST_F(GroupRegistryTest, ATokenOutsideTheVocabularyFailsItsRequestOnly) {
  const Worker worker = Connect("a:1");
  const auto bad = std::make_shared<FakeSink>(), good = std::make_shared<FakeSink>();
  const uint64_t bad_id = *registry_.Submit(Request(), bad);
  const uint64_t good_id = *registry_.Submit(Request(), good);
  const std::vector<int32_t> outside = {10}, inside = {9};
  registry_.StepReceived(
      worker.id,
      {{.request_id = bad_id, .token_ids = outside}, {.request_id = good_id, .token_ids = inside}},
      {});
  EXPECT_EQ(bad->status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(bad->tokens, IsEmpty());
  EXPECT_THAT(good->tokens, ElementsAre(9));
  EXPECT_THAT(worker.session->cancelled(), ElementsAre(bad_id));
  registry_.Cancel(good_id);
}

TEST_F(GroupRegistryTest, DropsEventsOfRequestsThatAreNotTheGroups) {
  const Worker a = Connect("a:1"), b = Connect("b:1");
  const auto sink = std::make_shared<FakeSink>();
  const uint64_t id = *registry_.Submit(Request(), sink);
  const std::vector<int32_t> token = {1};
  registry_.StepReceived(b.id, {{.request_id = id, .token_ids = token}}, {});
  registry_.StepReceived(a.id, {{.request_id = id + 1, .token_ids = token}}, {});
  EXPECT_THAT(sink->tokens, IsEmpty());
  registry_.Cancel(id);
}

TEST_F(GroupRegistryTest, CancelReachesTheWorkerOnceAndTheSinkHearsNothingMore) {
  const Worker worker = Connect("a:1");
  const auto sink = std::make_shared<FakeSink>();
  const uint64_t id = *registry_.Submit(Request(), sink);
  registry_.Cancel(id);
  registry_.Cancel(id);
  EXPECT_THAT(worker.session->cancelled(), ElementsAre(id));
  const std::vector<int32_t> token = {1};
  registry_.StepReceived(worker.id, {{.request_id = id, .token_ids = token}}, {});
  Disconnect(worker);
  EXPECT_THAT(sink->tokens, IsEmpty());
  EXPECT_EQ(sink->ends, 0);
  EXPECT_EQ(sink.use_count(), 1);
}

TEST_F(GroupRegistryTest, ALostSessionFailsItsRequestsAndNoOthers) {
  const Worker a = Connect("a:1"), b = Connect("b:1");
  const auto lost = std::make_shared<FakeSink>(), kept = std::make_shared<FakeSink>();
  const uint64_t lost_id = *registry_.Submit(Request(), lost);
  const uint64_t kept_id = *registry_.Submit(Request(), kept);
  const std::vector<int32_t> token = {1};
  registry_.StepReceived(a.id, {{.request_id = lost_id, .token_ids = token}}, {});
  Disconnect(a);
  EXPECT_EQ(lost->status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(lost->status.message()),
              HasSubstr("the worker group that had the request was lost"));
  EXPECT_EQ(kept->ends, 0);
  EXPECT_EQ(registry_.CountGroups(GroupState::kConnecting), 1);
  // New requests go to the group that is left.
  const uint64_t next = *registry_.Submit(Request(), std::make_shared<FakeSink>());
  EXPECT_THAT(b.session->submitted(), ElementsAre(kept_id, next));
  Disconnect(b);
}

TEST_F(GroupRegistryTest, AnUnhealthyGroupFinishesWhatItHasAndTakesNothingNew) {
  const Worker worker = Connect("a:1");
  const auto sink = std::make_shared<FakeSink>();
  const uint64_t id = *registry_.Submit(Request(), sink);
  registry_.HealthChanged(worker.id, false);
  EXPECT_EQ(registry_.Submit(Request(), nullptr).status().code(), absl::StatusCode::kUnavailable);
  registry_.StepReceived(worker.id, {{.request_id = id, .finished = EngineFinish{}}}, {});
  EXPECT_EQ(sink->ends, 1);
  EXPECT_TRUE(sink->status.ok());
}

TEST_F(GroupRegistryTest, ARetiredGroupTakesNothingNewUntilItIsBack) {
  const Worker worker = Connect("a:1");
  registry_.SetRetired(worker.id, true);
  EXPECT_EQ(registry_.CountGroups(GroupState::kNotServing), 1);
  EXPECT_FALSE(registry_.Submit(Request(), nullptr).ok());
  registry_.SetRetired(worker.id, false);
  registry_.Cancel(*registry_.Submit(Request(), std::make_shared<FakeSink>()));
  Disconnect(worker);
  registry_.Remove(worker.id);
  EXPECT_EQ(registry_.CountGroups(GroupState::kConnecting), 0);
}

TEST_F(GroupRegistryTest, EveryRequestEndsOnceWhenSubmitCancelAndLossRace) {
  const Worker worker = Connect("a:1");
  constexpr int kThreads = 4, kRequests = 200;
  std::vector<std::shared_ptr<FakeSink>> sinks(kThreads * kRequests);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kRequests; ++i) {
        auto& sink = sinks[t * kRequests + i];
        sink = std::make_shared<FakeSink>();
        const auto id = registry_.Submit(Request(), sink);
        if (id.ok() && i % 3 == 0) registry_.Cancel(*id);
      }
    });
  }
  const std::vector<int32_t> token = {1};
  for (int step = 0; step < 50; ++step) {
    std::vector<EngineEvent> events;
    for (const uint64_t id : worker.session->submitted()) {
      events.push_back({.request_id = id, .token_ids = token, .finished = EngineFinish{}});
    }
    registry_.StepReceived(worker.id, events, {});
  }
  Disconnect(worker);
  for (std::thread& thread : threads) thread.join();
  for (const auto& sink : sinks) EXPECT_LE(sink->ends, 1);
  EXPECT_EQ(registry_.OutstandingRequests(worker.id), 0);
}

}  // namespace
}  // namespace phalanx
