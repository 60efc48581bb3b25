#include "coordinator/routing/engine_connection.h"

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/mutex.h"
#include "coordinator/routing/testing/fake_engine.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;

constexpr absl::Duration kPatience = absl::Seconds(30);

// What one request heard, to wait for.
class WaitingSink final : public GenerationSink {
 public:
  void OnStarted() override {}
  void OnCachedTokens(int cached_tokens) override {}
  void OnDraft(int drafted, int accepted) override {}
  void OnAccepted() override {}
  void OnTokens(absl::Span<const int32_t> token_ids, absl::Span<const TokenLogProbs>) override {
    MutexLock lock(&mutex_);
    tokens_.insert(tokens_.end(), token_ids.begin(), token_ids.end());
  }
  void OnLogProbs(absl::Span<const float> log_probs) override {}
  void OnFinished(const EngineFinish& finish) override { End(absl::OkStatus()); }
  void OnFailed(const absl::Status& status) override { End(status); }

  absl::Status WaitForEnd() {
    MutexLock lock(&mutex_);
    while (!ended_) CHECK(!changed_.WaitFor(&mutex_, kPatience)) << "the request does not end";
    return status_;
  }
  std::vector<int32_t> tokens() {
    MutexLock lock(&mutex_);
    return tokens_;
  }

 private:
  void End(const absl::Status& status) {
    MutexLock lock(&mutex_);
    ended_ = true;
    status_ = status;
    changed_.SignalAll();
  }

  Mutex mutex_;
  CondVar changed_;
  std::vector<int32_t> tokens_ GUARDED_BY(mutex_);
  absl::Status status_ GUARDED_BY(mutex_);
  bool ended_ GUARDED_BY(mutex_) = false;
};

class EngineConnectionTest : public ::testing::Test {
 protected:
  void TearDown() override {
    connection_.reset();
    registry_.Remove(group_);
  }

  void Connect(const std::string& address) {
    EngineConnectionOptions options;
    // No call is ended by the network.
    options.keepalive_time = options.keepalive_timeout = absl::Hours(1);
    options.backoff.initial = absl::Milliseconds(1);
    options.backoff.max = absl::Milliseconds(20);
    group_ = registry_.Add(address);
    connection_ = ConnectToEngine(address, group_, options, &registry_, MonotonicClock());
  }

  void WaitForState(GroupState state) {
    MutexLock lock(&mutex_);
    while (registry_.CountGroups(state) == 0) {
      CHECK(!changed_.WaitFor(&mutex_, kPatience)) << "never " << GroupStateName(state);
    }
  }

  static EngineRequest Request() {
    EngineRequest request;
    request.prompt_token_ids = {1, 2, 3};
    request.max_new_tokens = 4;
    request.eos_token_ids = {9};
    request.sampling.temperature = 0.5f;
    request.sampling.top_k = 7;
    request.sampling.top_p = 0.75f;
    request.seed = 11;
    request.time_left = absl::Seconds(60);
    return request;
  }

  Mutex mutex_;
  CondVar changed_;
  GroupRegistry registry_{{.model_fingerprint = "feed", .vocab = 10}, MonotonicClock(), [this] {
                            MutexLock lock(&mutex_);
                            changed_.SignalAll();
                          }};
  GroupId group_ = {};
  std::unique_ptr<GroupConnection> connection_;
};

TEST_F(EngineConnectionTest, CarriesARequestAndItsEvents) {
  FakeEngine engine({});
  Connect(engine.address());
  WaitForState(GroupState::kServing);
  EXPECT_EQ(registry_.ServingContextTokens(), 64);

  const auto sink = std::make_shared<WaitingSink>();
  const uint64_t id = *registry_.Submit(Request(), sink);
  const worker::v1::Submit submit = engine.WaitForSubmit();
  EXPECT_EQ(submit.request_id(), id);
  EXPECT_THAT(submit.prompt_token_ids(), ElementsAre(1, 2, 3));
  EXPECT_EQ(submit.max_new_tokens(), 4);
  EXPECT_THAT(submit.eos_token_ids(), ElementsAre(9));
  EXPECT_EQ(submit.temperature(), 0.5f);
  EXPECT_EQ(submit.top_k(), 7);
  EXPECT_EQ(submit.top_p(), 0.75f);
  EXPECT_EQ(submit.seed(), 11u);
  EXPECT_EQ(submit.deadline_seconds(), 60.0);

  engine.Send(TokensEvent(id, {5}));
  engine.Send(TokensEvent(id, {6, 7}));
  engine.Send(FinishedEvent(id, worker::v1::EngineFinished::REASON_EOS));
  EXPECT_EQ(sink->WaitForEnd(), absl::OkStatus());
  EXPECT_THAT(sink->tokens(), ElementsAre(5, 6, 7));
}

TEST_F(EngineConnectionTest, CancelReachesTheEngine) {
  FakeEngine engine({});
  Connect(engine.address());
  WaitForState(GroupState::kServing);
  const uint64_t id = *registry_.Submit(Request(), std::make_shared<WaitingSink>());
  registry_.Cancel(id);
  EXPECT_EQ(engine.WaitForCancel(), id);
}

TEST_F(EngineConnectionTest, ALostSessionFailsItsRequestsAndIsOpenedAgain) {
  FakeEngine engine({});
  Connect(engine.address());
  WaitForState(GroupState::kServing);
  const auto sink = std::make_shared<WaitingSink>();
  registry_.Submit(Request(), sink).IgnoreError();
  engine.WaitForSubmit();
  engine.EndSessions(absl::UnavailableError("rank 1 died"));
  EXPECT_EQ(sink->WaitForEnd().code(), absl::StatusCode::kUnavailable);
  WaitForState(GroupState::kServing);
}

TEST_F(EngineConnectionTest, ReturnsToAGroupThatWasRestarted) {
  auto engine = std::make_unique<FakeEngine>(FakeEngine::Options{});
  const int port = engine->port();
  Connect(engine->address());
  WaitForState(GroupState::kServing);
  engine.reset();
  WaitForState(GroupState::kConnecting);
  engine = std::make_unique<FakeEngine>(FakeEngine::Options{.port = port});
  WaitForState(GroupState::kServing);
  connection_.reset();
}

TEST_F(EngineConnectionTest, RefusesAnotherModel) {
  FakeEngine engine({.fingerprint = "beef"});
  Connect(engine.address());
  WaitForState(GroupState::kRefused);
}

TEST_F(EngineConnectionTest, FollowsTheGroupsHealth) {
  FakeEngine engine({.serving = false});
  Connect(engine.address());
  WaitForState(GroupState::kNotServing);
  engine.SetServing(true);
  WaitForState(GroupState::kServing);
  engine.SetServing(false);
  WaitForState(GroupState::kNotServing);
}

// A group that leaves ends its health Watch first, and what its session still says is heard.
TEST_F(EngineConnectionTest, ARequestIsFinishedAfterTheHealthWatchHasEnded) {
  FakeEngine engine({});
  Connect(engine.address());
  WaitForState(GroupState::kServing);
  const auto sink = std::make_shared<WaitingSink>();
  const uint64_t id = *registry_.Submit(Request(), sink);
  engine.WaitForSubmit();
  engine.EndHealth();
  WaitForState(GroupState::kNotServing);
  engine.Send(TokensEvent(id, {5}));
  engine.Send(FinishedEvent(id, worker::v1::EngineFinished::REASON_EOS));
  EXPECT_EQ(sink->WaitForEnd(), absl::OkStatus());
  EXPECT_THAT(sink->tokens(), ElementsAre(5));
  // After that the session has nothing left to do.
  WaitForState(GroupState::kConnecting);
}

TEST_F(EngineConnectionTest, FailsRequestsThatTheEngineEndsWithoutAReason) {
  FakeEngine engine({});
  Connect(engine.address());
  WaitForState(GroupState::kServing);
  const auto sink = std::make_shared<WaitingSink>();
  const uint64_t id = *registry_.Submit(Request(), sink);
  engine.WaitForSubmit();
  engine.Send(FinishedEvent(id, worker::v1::EngineFinished::REASON_UNSPECIFIED));
  EXPECT_EQ(sink->WaitForEnd().code(), absl::StatusCode::kInternal);
}

TEST_F(EngineConnectionTest, LeavesAGroupThatGoesOn) {
  FakeEngine engine({});
  Connect(engine.address());
  WaitForState(GroupState::kServing);
  connection_.reset();
  EXPECT_EQ(registry_.CountGroups(GroupState::kServing), 0);
}

TEST_F(EngineConnectionTest, AGroupThatSpeaksBeforeItGreetsIsLeftAndTriedAgain) {
  FakeEngine engine({.greetings = 0});
  Connect(engine.address());
  engine.Send(TokensEvent(1, {5}));
  engine.WaitForSession(2);
  EXPECT_EQ(registry_.CountGroups(GroupState::kConnecting), 1) << "not refused: it named no model";
  connection_.reset();
}

TEST_F(EngineConnectionTest, AGroupThatGreetsTwiceIsLeftAndTriedAgain) {
  FakeEngine engine({.greetings = 2});
  Connect(engine.address());
  engine.WaitForSession(2);
  connection_.reset();
}

TEST_F(EngineConnectionTest, GoesToTheGroupItselfWhateverProxyTheEnvironmentNames) {
  // Nothing listens there.
  setenv("http_proxy", "http://127.0.0.1:1", 1);
  FakeEngine engine({});
  Connect(engine.address());
  WaitForState(GroupState::kServing);
  unsetenv("http_proxy");
}

TEST_F(EngineConnectionTest, EndsWhileItCannotConnect) {
  Connect("127.0.0.1:1");
  EXPECT_EQ(registry_.CountGroups(GroupState::kConnecting), 1);
}

}  // namespace
}  // namespace phalanx
