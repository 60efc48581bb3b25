// Requests that go to another group.
#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "coordinator/admission/refusal.h"
#include "coordinator/routing/group_registry.h"
#include "coordinator/routing/testing/registry_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class GroupRequestsTest : public RegistryTest {
 protected:
  void Accept(const Worker& worker, uint64_t id) {
    registry_.StepReceived(worker.id, {{.request_id = id, .accepted = true}}, {});
  }
  void Refuse(const Worker& worker, uint64_t id, const absl::Status& status = kFull) {
    registry_.StepReceived(worker.id, {{.request_id = id, .error = status}}, {});
  }
  void Finish(const Worker& worker, uint64_t id) {
    const std::vector<int32_t> token = {1};
    registry_.StepReceived(
        worker.id, {{.request_id = id, .token_ids = token, .finished = EngineFinish{}}}, {});
  }

  static inline const absl::Status kFull = absl::ResourceExhaustedError("the queue is full");
  static inline const absl::Status kDrains = absl::UnavailableError("the worker is draining");
};

TEST_F(GroupRequestsTest, AcceptanceIsToldOnceAndATokenImpliesIt) {
  const Worker a = Connect("a:1");
  const auto sink = std::make_shared<FakeSink>(), silent = std::make_shared<FakeSink>();
  const uint64_t id = *registry_.Submit(Request(), sink);
  const uint64_t silent_id = *registry_.Submit(Request(), silent);
  EXPECT_EQ(sink->acceptances, 0);
  Accept(a, id);
  EXPECT_EQ(sink->acceptances, 1);
  Accept(a, id);
  Finish(a, id);
  Finish(a, silent_id);
  EXPECT_EQ(sink->acceptances, 1);
  EXPECT_EQ(silent->acceptances, 1);
  EXPECT_EQ(silent->ends, 1);
}

EngineRequest WithConstraint(EngineRequest request) {
  request.constraint = {.kind = EngineConstraint::Kind::kRegex, .text = "a"};
  return request;
}

TEST_F(GroupRequestsTest, GoToGroupsThatHaveTheFeaturesThatTheyNeed) {
  const Worker old = Connect("old:1", 1000, {});
  const Worker able = Connect("able:1", 1000, {"constraint", "of a later version"});
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(registry_.Submit(WithConstraint(Request()), std::make_shared<FakeSink>()).ok());
  }
  EXPECT_THAT(able.session->submitted(), SizeIs(3));
  // The group without features is idle, and gets what needs none.
  const auto sink = std::make_shared<FakeSink>();
  const uint64_t plain = *registry_.Submit(Request(), sink);
  EXPECT_THAT(old.session->submitted(), SizeIs(1));
  Finish(old, plain);
  registry_.SessionEnded(able.id, absl::CancelledError("the test ends"));
}

TEST_F(GroupRequestsTest, AFeatureThatNoServingGroupHasIsRefused) {
  const Worker old = Connect("old:1", 1000, {"score"});
  const auto submit = [&](const std::function<void(EngineRequest&)>& change) {
    EngineRequest request = Request();
    change(request);
    return registry_.Submit(std::move(request), std::make_shared<FakeSink>()).status();
  };
  const std::vector<std::pair<std::string, std::function<void(EngineRequest&)>>> cases = {
      {"cache_salt", [](EngineRequest& request) { request.cache_salt = "x"; }},
      {"constraint", [](EngineRequest& request) { request.constraint = EngineConstraint{}; }},
      {"log_probs", [](EngineRequest& request) { request.options.log_probs = 0; }},
      {"logit_bias",
       [](EngineRequest& request) {
         request.options.logit_bias = {{1, 1.0f}};
       }},
      {"max_reasoning_tokens",
       [](EngineRequest& request) { request.options.reasoning_limit.emplace(); }},
      {"min_new_tokens", [](EngineRequest& request) { request.options.min_new_tokens = 1; }},
      {"penalties", [](EngineRequest& request) { request.sampling.presence_penalty = 1.0f; }},
      {"repetition_limit",
       [](EngineRequest& request) { request.options.repetition_limit.emplace(); }},
      {"speculation", [](EngineRequest& request) { request.options.max_draft_tokens = 2; }},
  };
  for (const auto& [feature, change] : cases) {
    const absl::Status status = submit(change);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << feature << ": " << status;
    EXPECT_EQ(KindOfRefusal(status), RefusalKind::kFeatureMissing) << feature;
    EXPECT_THAT(std::string(status.message()), HasSubstr(feature));
  }
  EXPECT_THAT(old.session->submitted(), IsEmpty());
  // With what it has, only its context counts; and without any group there is nobody to ask.
  EXPECT_EQ(submit([](EngineRequest& request) {
              request.score = true;
              request.max_new_tokens = 5000;
            }).code(),
            absl::StatusCode::kInvalidArgument);
  Disconnect(old);
  EXPECT_EQ(submit(cases[1].second).code(), absl::StatusCode::kUnavailable);
}

TEST_F(GroupRequestsTest, DoNotMoveToGroupsThatLackAFeature) {
  const Worker able = Connect("able:1", 1000, {"constraint"});
  const Worker old = Connect("old:1", 1000, {});
  const auto sink = std::make_shared<FakeSink>();
  const uint64_t id = *registry_.Submit(WithConstraint(Request()), sink);
  Refuse(able, id);
  EXPECT_EQ(sink->status.code(), absl::StatusCode::kResourceExhausted) << sink->status;
  EXPECT_THAT(old.session->submitted(), IsEmpty());
}

TEST_F(GroupRequestsTest, RequestsThatEndInOneStepAreAllTold) {
  const Worker a = Connect("a:1");
  const auto first = std::make_shared<FakeSink>(), second = std::make_shared<FakeSink>();
  const uint64_t first_id = *registry_.Submit(Request(), first);
  const uint64_t second_id = *registry_.Submit(Request(), second);
  registry_.StepReceived(a.id,
                         {{.request_id = first_id, .finished = EngineFinish{}},
                          {.request_id = second_id, .finished = EngineFinish{}}},
                         {});
  EXPECT_EQ(first->ends, 1);
  EXPECT_EQ(second->ends, 1);
}

TEST_F(GroupRequestsTest, TheStartIsToldOnceWhicheverGroupsTheRequestGoesTo) {
  const Worker a = Connect("a:1"), b = Connect("b:1");
  const auto sink = std::make_shared<FakeSink>();
  const uint64_t id = *registry_.Submit(Request(), sink);
  Accept(a, id);
  EXPECT_EQ(sink->starts, 0);
  EngineEvent started;
  started.request_id = id;
  started.started = true;
  started.cached_tokens = 16;
  registry_.StepReceived(a.id, {started}, {});
  EXPECT_EQ(sink->starts, 1);
  EXPECT_EQ(sink->cached_tokens, 16);
  Disconnect(a);
  started.cached_tokens = 32;
  registry_.StepReceived(b.id, {started}, {});
  Finish(b, id);
  EXPECT_EQ(sink->starts, 1);
  EXPECT_EQ(sink->cached_tokens, 32) << "those of the group that answers";
  EXPECT_EQ(sink->ends, 1);
}

TEST_F(GroupRequestsTest, ARefusedRequestGoesToAnotherGroupAndItsSinkDoesNotNotice) {
  for (const auto& [refusal, reason] :
       {std::pair(kFull, MoveReason::kQueueFull), std::pair(kDrains, MoveReason::kDraining)}) {
    const Worker a = Connect("a:1"), b = Connect("b:1");
    const auto sink = std::make_shared<FakeSink>();
    const uint64_t id = *registry_.Submit(Request(), sink);
    ASSERT_THAT(a.session->submitted(), ElementsAre(id));
    Refuse(a, id, refusal);
    EXPECT_THAT(b.session->submitted(), ElementsAre(id));
    EXPECT_EQ(registry_.OutstandingRequests(a.id), 0);
    EXPECT_EQ(registry_.OutstandingRequests(b.id), 1);
    EXPECT_EQ(moves_.at(reason), 1);
    Finish(b, id);
    EXPECT_THAT(sink->tokens, ElementsAre(1));
    EXPECT_EQ(sink->ends, 1);
    EXPECT_TRUE(sink->status.ok());
    EXPECT_THAT(a.session->cancelled(), IsEmpty());
    for (const Worker& worker : {a, b}) {
      Disconnect(worker);
      registry_.Remove(worker.id);
    }
  }
}

TEST_F(GroupRequestsTest, AGroupThatRefusedIsAvoidedForAMoment) {
  const Worker small = Connect("a:1"), large = Connect("b:1");
  const uint64_t first = *registry_.Submit(Request(), std::make_shared<FakeSink>());
  Refuse(small, first);
  // `large` has work, `small` has none.
  const uint64_t second = *registry_.Submit(Request(), std::make_shared<FakeSink>());
  EXPECT_THAT(large.session->submitted(), ElementsAre(first, second));
  clock_.Advance(GroupRegistry::kRefusalMemory);
  const uint64_t third = *registry_.Submit(Request(), std::make_shared<FakeSink>());
  EXPECT_THAT(small.session->submitted(), ElementsAre(first, third));
  for (const uint64_t id : {first, second, third}) registry_.Cancel(id);
}

TEST_F(GroupRequestsTest, TriesNoGroupTwiceAndThenPassesTheRefusalOn) {
  const Worker a = Connect("a:1"), b = Connect("b:1");
  const auto sink = std::make_shared<FakeSink>();
  const uint64_t id = *registry_.Submit(Request(), sink);
  Refuse(a, id);
  EXPECT_EQ(sink->ends, 0);
  Refuse(b, id);
  EXPECT_EQ(sink->status, Refused(RefusalKind::kQueueFull, kFull));
  EXPECT_EQ(sink->acceptances, 0);
  EXPECT_THAT(a.session->submitted(), SizeIs(1));
  EXPECT_THAT(b.session->submitted(), SizeIs(1));
  EXPECT_EQ(registry_.OutstandingRequests(b.id), 0);
}

TEST_F(GroupRequestsTest, GivesUpAfterAFewGroups) {
  std::vector<Worker> workers;
  for (int i = 0; i < 2 * GroupRegistry::kMaxDispatches; ++i) workers.push_back(Connect("a:1"));
  const auto sink = std::make_shared<FakeSink>();
  const uint64_t id = *registry_.Submit(Request(), sink);
  for (int i = 0; i < GroupRegistry::kMaxDispatches; ++i) {
    EXPECT_EQ(sink->ends, 0);
    Refuse(workers[i], id);
  }
  EXPECT_EQ(sink->ends, 1);
}

TEST_F(GroupRequestsTest, OtherRefusalsAreFinal) {
  for (const absl::Status& status :
       {absl::InvalidArgumentError("temperature"), absl::DeadlineExceededError("too late"),
        absl::InternalError("not a number")}) {
    const Worker a = Connect("a:1"), b = Connect("b:1");
    const auto sink = std::make_shared<FakeSink>();
    const uint64_t id = *registry_.Submit(Request(), sink);
    Refuse(a, id, status);
    EXPECT_EQ(sink->status, status);
    EXPECT_THAT(b.session->submitted(), IsEmpty());
    for (const Worker& worker : {a, b}) {
      Disconnect(worker);
      registry_.Remove(worker.id);
    }
  }
}

TEST_F(GroupRequestsTest, AGroupLostBeforeTheFirstTokenHandsItsRequestsOn) {
  const Worker a = Connect("a:1");
  const auto waiting = std::make_shared<FakeSink>(), begun = std::make_shared<FakeSink>();
  const uint64_t waiting_id = *registry_.Submit(Request(), waiting);
  const uint64_t begun_id = *registry_.Submit(Request(), begun);
  Accept(a, waiting_id);
  const std::vector<int32_t> token = {1};
  registry_.StepReceived(a.id, {{.request_id = begun_id, .token_ids = token}}, {});
  const Worker b = Connect("b:1");
  Disconnect(a);
  EXPECT_THAT(b.session->submitted(), ElementsAre(waiting_id));
  EXPECT_EQ(moves_.at(MoveReason::kLost), 1);
  EXPECT_EQ(begun->status.code(), absl::StatusCode::kUnavailable);
  Accept(b, waiting_id);
  Finish(b, waiting_id);
  EXPECT_EQ(waiting->acceptances, 1);
  EXPECT_TRUE(waiting->status.ok());
}

// A group that loses a rank says so of every request before its session ends.
TEST_F(GroupRequestsTest, AnEngineThatEndsBeforeTheFirstTokenHandsItsRequestsOn) {
  const Worker a = Connect("a:1"), b = Connect("b:1");
  const auto sink = std::make_shared<FakeSink>();
  const uint64_t id = *registry_.Submit(Request(), sink);
  Accept(a, id);
  Refuse(a, id, absl::UnavailableError("rank 1 was killed by signal 9"));
  EXPECT_THAT(b.session->submitted(), ElementsAre(id));
  EXPECT_EQ(moves_.at(MoveReason::kLost), 1);
  Finish(b, id);
  EXPECT_TRUE(sink->status.ok());
}

TEST_F(GroupRequestsTest, ARequestThatEndsItsGroupsTakesOnlyAFewAlong) {
  std::vector<Worker> workers;
  for (int i = 0; i < 2 * GroupRegistry::kMaxDispatches; ++i) workers.push_back(Connect("a:1"));
  const auto sink = std::make_shared<FakeSink>();
  registry_.Submit(Request(), sink).IgnoreError();
  for (int i = 0; i < GroupRegistry::kMaxLosses; ++i) {
    EXPECT_EQ(sink->ends, 0);
    Disconnect(workers[i]);
  }
  EXPECT_EQ(sink->status.code(), absl::StatusCode::kUnavailable);
}

TEST_F(GroupRequestsTest, TheDeadlineGoesOnWhileARequestMoves) {
  const Worker a = Connect("a:1"), b = Connect("b:1"), c = Connect("c:1");
  EngineRequest request = Request();
  request.time_left = absl::Seconds(10);
  const auto sink = std::make_shared<FakeSink>();
  const uint64_t id = *registry_.Submit(request, sink);
  clock_.Advance(absl::Seconds(4));
  Refuse(a, id);
  EXPECT_EQ(b.session->newest().time_left, absl::Seconds(6));
  EXPECT_EQ(b.session->newest().prompt_token_ids, request.prompt_token_ids);
  clock_.Advance(absl::Seconds(6));
  Accept(a, id);
  Refuse(b, id);
  EXPECT_EQ(sink->status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(c.session->submitted(), IsEmpty());
}

TEST_F(GroupRequestsTest, TheTimeUntilTheLastMoveCountsAsWaiting) {
  const Worker a = Connect("a:1"), b = Connect("b:1");
  const auto sink = std::make_shared<FakeSink>();
  const uint64_t id = *registry_.Submit(Request(), sink);
  clock_.Advance(absl::Seconds(4));
  Refuse(a, id);
  clock_.Advance(absl::Seconds(3));
  registry_.StepReceived(
      b.id, {{.request_id = id, .finished = EngineFinish{.queue = absl::Seconds(2)}}}, {});
  EXPECT_EQ(sink->queue, absl::Seconds(6));
}

TEST_F(GroupRequestsTest, MovesOnlyToAGroupWhoseContextItFits) {
  const Worker large = Connect("a:1", 64), small = Connect("b:1", 16);
  const auto sink = std::make_shared<FakeSink>();
  const uint64_t id = *registry_.Submit(Request(20, 40), sink);
  Refuse(large, id);
  EXPECT_EQ(sink->status, Refused(RefusalKind::kQueueFull, kFull));
  EXPECT_THAT(small.session->submitted(), IsEmpty());
}

TEST_F(GroupRequestsTest, ACancelFollowsTheRequestToItsNewGroup) {
  const Worker a = Connect("a:1"), b = Connect("b:1");
  const auto sink = std::make_shared<FakeSink>();
  const uint64_t id = *registry_.Submit(Request(), sink);
  Refuse(a, id);
  registry_.Cancel(id);
  EXPECT_THAT(a.session->cancelled(), IsEmpty());
  EXPECT_THAT(b.session->cancelled(), ElementsAre(id));
  // What the old group still says is dropped.
  Finish(a, id);
  EXPECT_EQ(sink->acceptances, 0);
  EXPECT_EQ(sink->ends, 0);
}

TEST_F(GroupRequestsTest, ASessionThatThisCoordinatorLeavesMovesNothing) {
  const Worker a = Connect("a:1"), b = Connect("b:1");
  const auto sink = std::make_shared<FakeSink>();
  registry_.Submit(Request(), sink).IgnoreError();
  registry_.SessionEnded(a.id, absl::CancelledError("this coordinator has left it"));
  EXPECT_THAT(b.session->submitted(), IsEmpty());
  EXPECT_EQ(sink->status, absl::UnavailableError("the server is shutting down"));
}

TEST_F(GroupRequestsTest, FailuresNameNoGroup) {
  const std::vector<int32_t> token = {1}, nonsense = {10};
  for (const bool begun : {false, true}) {
    const Worker worker = Connect("10.1.2.3:50061");
    const auto lost = std::make_shared<FakeSink>(), ended = std::make_shared<FakeSink>();
    const auto confused = std::make_shared<FakeSink>();
    const uint64_t lost_id = *registry_.Submit(Request(), lost);
    const uint64_t ended_id = *registry_.Submit(Request(), ended);
    const uint64_t confused_id = *registry_.Submit(Request(), confused);
    if (begun) {
      registry_.StepReceived(worker.id, {{.request_id = lost_id, .token_ids = token}}, {});
      registry_.StepReceived(worker.id, {{.request_id = ended_id, .token_ids = token}}, {});
    }
    registry_.StepReceived(worker.id, {{.request_id = confused_id, .token_ids = nonsense}}, {});
    Refuse(worker, ended_id, absl::UnavailableError("10.1.2.3: rank 1 is gone"));
    registry_.SessionEnded(worker.id, absl::UnavailableError("ipv4:10.1.2.3:50061: reset"));
    for (const auto& sink : {lost, ended, confused}) {
      EXPECT_FALSE(sink->status.ok());
      EXPECT_THAT(std::string(sink->status.message()), Not(HasSubstr("10.1.2.3")));
      EXPECT_THAT(std::string(sink->status.message()), HasSubstr("worker group"));
    }
    registry_.Remove(worker.id);
  }
}

TEST_F(GroupRequestsTest, EveryRequestEndsOnceWhenRefusalsCancelsAndLossesRace) {
  const Worker a = Connect("a:1"), b = Connect("b:1"), c = Connect("c:1");
  constexpr int kThreads = 3, kRequests = 200;
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
  threads.emplace_back([&] {
    for (int step = 0; step < 50; ++step) {
      for (const uint64_t id : a.session->submitted()) Refuse(a, id);
    }
    Disconnect(a);
  });
  threads.emplace_back([&] {
    for (int step = 0; step < 50; ++step) {
      for (const uint64_t id : b.session->submitted()) Accept(b, id);
    }
    Disconnect(b);
  });
  for (std::thread& thread : threads) thread.join();
  for (const uint64_t id : c.session->submitted()) Finish(c, id);
  Disconnect(c);
  for (const auto& sink : sinks) EXPECT_LE(sink->ends, 1);
  EXPECT_EQ(registry_.OutstandingRequests(c.id), 0);
}

TEST_F(GroupRequestsTest, RequestsThatAreSubmittedTogetherGoToOneGroup) {
  const Worker a = Connect("a:1"), b = Connect("b:1");
  std::vector<std::shared_ptr<GenerationSink>> sinks;
  for (int i = 0; i < 3; ++i) sinks.push_back(std::make_shared<FakeSink>());
  const auto ids = registry_.SubmitAll({Request(), Request(), Request()}, sinks);
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(a.session->submitted(), *ids);
  EXPECT_TRUE(b.session->submitted().empty());
  // The next go to the group that has nothing to do.
  EXPECT_TRUE(registry_.SubmitAll({Request(), Request()}, {sinks[0], sinks[1]}).ok());
  EXPECT_EQ(b.session->submitted().size(), 2u);
  for (const uint64_t id : *ids) registry_.Cancel(id);
  Disconnect(a);
  Disconnect(b);
}

TEST_F(GroupRequestsTest, OfRequestsThatFitNoGroupNoneIsSent) {
  const Worker a = Connect("a:1", /*context_tokens=*/8);
  const auto sink = std::make_shared<FakeSink>();
  EXPECT_EQ(registry_.SubmitAll({Request(), Request()}, {sink, sink}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(a.session->submitted().empty());
  Disconnect(a);
}

}  // namespace
}  // namespace phalanx
