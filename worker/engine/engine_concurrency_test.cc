// Many threads at once on one engine; run under ThreadSanitizer too.
#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "gtest/gtest.h"
#include "worker/engine/engine.h"
#include "worker/engine/testing/fake_step_executor.h"
#include "worker/engine/testing/recording_sink.h"

namespace phalanx {
namespace {

constexpr int kVocab = 500;
constexpr StepLimits kLimits = {
    .max_step_tokens = 64, .max_seqs = 16, .max_blocks_per_seq = 8, .kv_blocks = 40};

GenerationRequest Request(int prompt_tokens, int max_new_tokens) {
  GenerationRequest request;
  request.prompt_token_ids.assign(prompt_tokens, 3);
  request.max_new_tokens = max_new_tokens;
  return request;
}

// An engine that runs on a thread of its own; by how many steps may be in flight.
class EngineConcurrencyTest : public ::testing::TestWithParam<int> {
 protected:
  EngineConcurrencyTest()
      : metrics_(registry_),
        executor_(kLimits, kVocab, GetParam()),
        engine_({.limits = kLimits,
                 .request_limits = {.vocab_size = kVocab, .context_tokens = 128},
                 .max_waiting = 100000},
                &executor_, MonotonicClock(), &metrics_),
        loop_([this] { result_ = engine_.Run(); }) {}

  ~EngineConcurrencyTest() override {
    if (loop_.joinable()) StopEngine();
  }

  void StopEngine() {
    engine_.Stop();
    loop_.join();
  }

  prometheus::Registry registry_;
  EngineMetrics metrics_;
  FakeStepExecutor executor_;
  Engine engine_;
  absl::Status result_;
  std::thread loop_;
};

TEST_P(EngineConcurrencyTest, AnIdleEngineWakesForARequest) {
  RecordingSink sink;
  const std::unique_ptr<EngineSession> session = engine_.OpenSession(&sink).value();
  for (uint64_t i = 0; i < 3; ++i) {
    ASSERT_TRUE(session->Submit(RequestId{i}, Request(20, 5)).ok());
    EXPECT_EQ(sink.WaitForEnd(RequestId{i}).tokens.size(), 5u);
  }
  EXPECT_EQ(executor_.steps(), 15);
}

TEST_P(EngineConcurrencyTest, ThreadsThatSubmitCancelAndLeaveLoseNothing) {
  std::vector<std::thread> askers;
  for (int asker = 0; asker < 8; ++asker) {
    askers.emplace_back([this, asker] {
      std::mt19937 random(asker);
      for (int round = 0; round < 5; ++round) {
        RecordingSink sink;
        const std::unique_ptr<EngineSession> session = engine_.OpenSession(&sink).value();
        for (uint64_t i = 0; i < 20; ++i) {
          const int prompt_tokens = 1 + random() % 60;
          ASSERT_TRUE(session->Submit(RequestId{i}, Request(prompt_tokens, 1 + i)).ok());
          if (i % 3 == 1) session->Cancel(RequestId{random() % 20});
        }
        session->CancelAll();
        const GenerationRequest last = Request(10, 20);
        ASSERT_TRUE(session->Submit(RequestId{100}, last).ok());
        EXPECT_EQ(sink.WaitForEnd(RequestId{100}).tokens,
                  executor_.Continuation(last.prompt_token_ids, 20));
        ASSERT_TRUE(session->Submit(RequestId{101}, Request(10, 100)).ok());
      }
    });
  }
  for (std::thread& asker : askers) asker.join();
  EXPECT_TRUE(engine_.Drain(absl::InfiniteDuration()));
  StopEngine();
  EXPECT_TRUE(result_.ok());
  EXPECT_EQ(engine_.load().running_requests, 0);
  EXPECT_EQ(engine_.load().waiting_requests, 0);
  EXPECT_EQ(engine_.load().used_kv_blocks, 0);
}

TEST_P(EngineConcurrencyTest, TheStateIsToldOnceToEachWhoAsksWhileRequestsComeAndGo) {
  std::atomic<int> asked = 0;
  std::atomic<int> told = 0;
  std::atomic<bool> done = false;
  std::vector<std::thread> watchers;
  for (int watcher = 0; watcher < 4; ++watcher) {
    watchers.emplace_back([&] {
      while (!done) {
        const absl::Status status = engine_.DumpState(5, [&told](const EngineState& state) {
          EXPECT_LE(state.requests.size(), 5u);
          ++told;
        });
        if (status.ok()) ++asked;
      }
    });
  }
  RecordingSink sink;
  const std::unique_ptr<EngineSession> session = engine_.OpenSession(&sink).value();
  for (uint64_t i = 0; i < 50; ++i) {
    ASSERT_TRUE(session->Submit(RequestId{i}, Request(20, 20)).ok());
    if (i % 3 == 1) session->Cancel(RequestId{i});
  }
  EXPECT_TRUE(sink.WaitForEnd(RequestId{48}).ended());
  // On a busy machine all may be over before the first watcher runs.
  while (asked == 0) std::this_thread::yield();
  done = true;
  for (std::thread& watcher : watchers) watcher.join();
  StopEngine();
  EXPECT_EQ(told, asked);
}

TEST_P(EngineConcurrencyTest, SessionsMayCloseWhileTheirSinksAreCalled) {
  for (int i = 0; i < 200; ++i) {
    RecordingSink sink;
    const std::unique_ptr<EngineSession> session = engine_.OpenSession(&sink).value();
    ASSERT_TRUE(session->Submit(RequestId{1}, Request(5, 100)).ok());
    sink.WaitForToken(RequestId{1});
  }
  EXPECT_TRUE(engine_.Drain(absl::InfiniteDuration()));
}

TEST_P(EngineConcurrencyTest, AFailureReachesAllWhileOthersSubmit) {
  std::atomic<int> accepted = 0;
  std::vector<std::thread> askers;
  for (int asker = 0; asker < 4; ++asker) {
    askers.emplace_back([this, &accepted] {
      RecordingSink sink;
      absl::StatusOr<std::unique_ptr<EngineSession>> session = engine_.OpenSession(&sink);
      if (!session.ok()) return;
      uint64_t id = 0;
      while ((*session)->Submit(RequestId{id}, Request(5, 100)).ok()) {
        ++id;
        ++accepted;
      }
      for (uint64_t i = 0; i < id; ++i) EXPECT_TRUE(sink.WaitForEnd(RequestId{i}).ended());
    });
  }
  while (accepted < 20) std::this_thread::yield();
  executor_.FailWith(absl::UnavailableError("rank 1 is gone"));
  for (std::thread& asker : askers) asker.join();
  StopEngine();
  EXPECT_EQ(result_, absl::UnavailableError("rank 1 is gone"));
}

INSTANTIATE_TEST_SUITE_P(StepsInFlight, EngineConcurrencyTest, ::testing::Values(1, 2));

}  // namespace
}  // namespace phalanx
