#include "worker/engine/engine.h"

#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "base/fake_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/engine/fake_step_executor.h"
#include "worker/engine/recording_sink.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr int kVocab = 1000;
constexpr RequestId kFirst{1};
constexpr RequestId kSecond{2};
constexpr RequestId kThird{3};

std::vector<int32_t> Prompt(int num_tokens, int first_token = 1) {
  std::vector<int32_t> prompt(num_tokens);
  std::iota(prompt.begin(), prompt.end(), first_token);
  return prompt;
}

GenerationRequest Request(std::vector<int32_t> prompt, int max_new_tokens) {
  GenerationRequest request;
  request.prompt_token_ids = std::move(prompt);
  request.max_new_tokens = max_new_tokens;
  return request;
}

// An engine whose loop the test turns by hand; each step takes ten milliseconds.
class EngineTest : public ::testing::Test {
 protected:
  EngineTest() { Start({}); }

  struct Sizes {
    int step_tokens = 64;
    int seqs = 8;
    int blocks = 64;
    int max_waiting = 16;
  };

  // Makes a new engine in place of the one there is.
  void Start(const Sizes& sizes) {
    session_.reset();
    engine_.reset();
    const StepLimits limits = {.max_step_tokens = sizes.step_tokens,
                               .max_seqs = sizes.seqs,
                               .max_blocks_per_seq = 64,
                               .kv_blocks = sizes.blocks};
    registry_ = std::make_unique<prometheus::Registry>();
    metrics_ = std::make_unique<EngineMetrics>(*registry_);
    executor_ = std::make_unique<FakeStepExecutor>(limits, kVocab);
    executor_->OnStep([this](const StepInput&) { clock_.Advance(absl::Milliseconds(10)); });
    engine_ = std::make_unique<Engine>(
        Engine::Options{.limits = limits,
                        .request_limits = {.vocab_size = kVocab, .context_tokens = 1024},
                        .max_waiting = sizes.max_waiting},
        executor_.get(), &clock_, metrics_.get());
    sink_ = std::make_unique<RecordingSink>();
    session_ = engine_->OpenSession(sink_.get()).value();
  }

  absl::Status Submit(RequestId id, GenerationRequest request) {
    return session_->Submit(id, std::move(request));
  }

  void RunSteps(int count) {
    for (int i = 0; i < count; ++i) ASSERT_TRUE(engine_->RunOnce());
  }

  void RunUntilIdle() {
    while (engine_->load().running_requests + engine_->load().waiting_requests > 0) {
      ASSERT_TRUE(engine_->RunOnce());
    }
  }

  void ExpectIdle() {
    EXPECT_EQ(engine_->load().running_requests, 0);
    EXPECT_EQ(engine_->load().waiting_requests, 0);
    EXPECT_EQ(engine_->load().used_kv_blocks, 0);
    EXPECT_EQ(metrics_->requests_running.Value(), 0);
    EXPECT_EQ(metrics_->requests_waiting.Value(), 0);
    EXPECT_EQ(metrics_->kv_blocks_used.Value(), 0);
  }

  double RequestsCounted(const std::string& code) {
    for (const auto& family : registry_->Collect()) {
      if (family.name != "phalanx_engine_requests_total") continue;
      for (const auto& series : family.metric) {
        if (series.label.at(0).value == code) return series.counter.value;
      }
    }
    return -1;
  }

  FakeClock clock_;
  std::unique_ptr<prometheus::Registry> registry_;
  std::unique_ptr<EngineMetrics> metrics_;
  std::unique_ptr<FakeStepExecutor> executor_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<RecordingSink> sink_;
  std::unique_ptr<EngineSession> session_;
};

TEST_F(EngineTest, GeneratesUntilTheLengthIsReached) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 5)).ok());
  RunUntilIdle();
  const RecordingSink::Record record = sink_->Get(kFirst);
  EXPECT_EQ(record.tokens, executor_->Continuation(Prompt(20), 5));
  ASSERT_TRUE(record.finished.has_value());
  EXPECT_EQ(record.finished->reason, FinishReason::kLength);
  EXPECT_EQ(executor_->steps(), 5);
  EXPECT_EQ(sink_->calls(), 5);
  EXPECT_EQ(RequestsCounted("OK"), 1);
  ExpectIdle();
}

TEST_F(EngineTest, AnEosTokenEndsTheAnswerAndIsItsLastToken) {
  const std::vector<int32_t> expected = executor_->Continuation(Prompt(20), 10);
  GenerationRequest request = Request(Prompt(20), 10);
  request.eos_token_ids = {expected[6], expected[3]};
  ASSERT_TRUE(Submit(kFirst, request).ok());
  RunUntilIdle();
  const RecordingSink::Record record = sink_->Get(kFirst);
  EXPECT_EQ(record.tokens, std::vector<int32_t>(expected.begin(), expected.begin() + 4));
  ASSERT_TRUE(record.finished.has_value());
  EXPECT_EQ(record.finished->reason, FinishReason::kEos);
}

TEST_F(EngineTest, AnEosTokenAsTheLastAllowedOneCountsAsEos) {
  GenerationRequest request = Request(Prompt(20), 1);
  request.eos_token_ids = executor_->Continuation(Prompt(20), 1);
  ASSERT_TRUE(Submit(kFirst, request).ok());
  RunUntilIdle();
  EXPECT_EQ(sink_->Get(kFirst).finished->reason, FinishReason::kEos);
}

TEST_F(EngineTest, RequestsJoinAndLeaveBetweenSteps) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 8)).ok());
  RunSteps(2);
  ASSERT_TRUE(Submit(kSecond, Request(Prompt(30, 400), 3)).ok());
  RunSteps(1);
  EXPECT_THAT(sink_->Get(kFirst).tokens, SizeIs(3));
  EXPECT_THAT(sink_->Get(kSecond).tokens, SizeIs(1));
  EXPECT_EQ(sink_->calls(), 3) << "one call a step, whatever the number of requests";
  EXPECT_EQ(sink_->load().running_requests, 2);
  RunUntilIdle();
  EXPECT_EQ(sink_->Get(kFirst).tokens, executor_->Continuation(Prompt(20), 8));
  EXPECT_EQ(sink_->Get(kSecond).tokens, executor_->Continuation(Prompt(30, 400), 3));
  EXPECT_EQ(executor_->steps(), 8);
  ExpectIdle();
}

TEST_F(EngineTest, APromptLongerThanAStepTakesSeveral) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(150), 2)).ok());
  RunSteps(2);
  EXPECT_EQ(sink_->calls(), 0);
  RunUntilIdle();
  EXPECT_EQ(sink_->Get(kFirst).tokens, executor_->Continuation(Prompt(150), 2));
}

TEST_F(EngineTest, TimingsTellQueuePrefillAndDecode) {
  Start({.seqs = 1});
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(10), 3)).ok());
  ASSERT_TRUE(Submit(kSecond, Request(Prompt(100), 4)).ok());
  RunUntilIdle();
  const RequestFinished finished = *sink_->Get(kSecond).finished;
  EXPECT_EQ(finished.queue, absl::Milliseconds(30)) << "three steps of the first request";
  EXPECT_EQ(finished.prefill, absl::Milliseconds(20)) << "100 tokens, 64 a step";
  EXPECT_EQ(finished.decode, absl::Milliseconds(30)) << "three tokens after the first";
}

TEST_F(EngineTest, TellsItsMetrics) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 5)).ok());
  RunUntilIdle();
  EXPECT_EQ(metrics_->prompt_tokens_total.Value(), 20);
  EXPECT_EQ(metrics_->generation_tokens_total.Value(), 5);
  EXPECT_EQ(metrics_->kv_blocks_total.Value(), 64);
  EXPECT_EQ(metrics_->step_seconds.Collect().histogram.sample_count, 5u);
  EXPECT_DOUBLE_EQ(metrics_->step_seconds.Collect().histogram.sample_sum, 0.05);
  EXPECT_EQ(metrics_->step_tokens.Collect().histogram.sample_sum, 24);
  EXPECT_DOUBLE_EQ(metrics_->time_to_first_token_seconds.Collect().histogram.sample_sum, 0.01);
}

TEST_F(EngineTest, TokensAreTheSameWhateverTheSizeOfTheCache) {
  for (const int blocks : {6, 9, 64}) {
    Start({.blocks = blocks});
    for (int i = 0; i < 5; ++i) {
      ASSERT_TRUE(Submit(RequestId(i), Request(Prompt(10 + i, 100 * i), 70)).ok());
    }
    RunUntilIdle();
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(sink_->Get(RequestId(i)).tokens,
                executor_->Continuation(Prompt(10 + i, 100 * i), 70))
          << "request " << i << " with " << blocks << " blocks";
    }
    EXPECT_EQ(metrics_->preemptions_total.Value() > 0, blocks < 64);
    EXPECT_EQ(metrics_->prompt_tokens_total.Value(), 60) << "what is computed again counts once";
    ExpectIdle();
  }
}

TEST_F(EngineTest, TheOldestRequestGetsATokenInEveryStep) {
  Start({.step_tokens = 16, .seqs = 4, .blocks = 12});
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(10), 100)).ok());
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(Submit(RequestId(100 + i), Request(Prompt(40), 100)).ok());
  }
  for (size_t step = 1; step <= 100; ++step) {
    RunSteps(1);
    ASSERT_THAT(sink_->Get(kFirst).tokens, SizeIs(step));
  }
  RunUntilIdle();
  ExpectIdle();
}

TEST_F(EngineTest, ACancelledRequestEndsWithoutAWord) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 100)).ok());
  ASSERT_TRUE(Submit(kSecond, Request(Prompt(20), 5)).ok());
  RunSteps(2);
  session_->Cancel(kFirst);
  session_->Cancel(kFirst);
  RunUntilIdle();
  EXPECT_THAT(sink_->Get(kFirst).tokens, SizeIs(2));
  EXPECT_FALSE(sink_->Get(kFirst).ended());
  EXPECT_THAT(sink_->Get(kSecond).tokens, SizeIs(5));
  EXPECT_EQ(RequestsCounted("CANCELLED"), 1);
  ExpectIdle();
}

TEST_F(EngineTest, ARequestCanBeCancelledBeforeItsFirstStep) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 100)).ok());
  session_->Cancel(kFirst);
  RunSteps(1);
  EXPECT_EQ(executor_->steps(), 0);
  EXPECT_EQ(sink_->calls(), 0);
  ExpectIdle();
}

TEST_F(EngineTest, CancellingWhatIsUnknownOrOverIsIgnored) {
  session_->Cancel(kThird);
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 1)).ok());
  RunUntilIdle();
  session_->Cancel(kFirst);
  RunSteps(1);
  EXPECT_EQ(RequestsCounted("CANCELLED"), 0);
}

TEST_F(EngineTest, ASessionTakesItsRequestsWithItAndLeavesTheOthers) {
  RecordingSink other_sink;
  std::unique_ptr<EngineSession> other = engine_->OpenSession(&other_sink).value();
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 10)).ok());
  ASSERT_TRUE(other->Submit(kFirst, Request(Prompt(30), 10)).ok()) << "ids are per session";
  RunSteps(2);
  session_.reset();
  RunUntilIdle();
  EXPECT_EQ(sink_->calls(), 2);
  EXPECT_EQ(other_sink.Get(kFirst).tokens, executor_->Continuation(Prompt(30), 10));
  EXPECT_EQ(RequestsCounted("CANCELLED"), 1);
  other.reset();
  ExpectIdle();
}

TEST_F(EngineTest, CancelAllEndsAllRequestsOfTheSession) {
  for (int i = 0; i < 12; ++i) ASSERT_TRUE(Submit(RequestId(i), Request(Prompt(20), 10)).ok());
  RunSteps(2);
  session_->CancelAll();
  RunSteps(1);
  EXPECT_EQ(RequestsCounted("CANCELLED"), 12);
  ExpectIdle();
}

TEST_F(EngineTest, AnIdIsFreeAgainOnceItsRequestHasEnded) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 2)).ok());
  const absl::Status status = Submit(kFirst, Request(Prompt(20), 2));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("request_id 1 is in use"));
  session_->Cancel(kFirst);
  RunUntilIdle();
  EXPECT_TRUE(Submit(kFirst, Request(Prompt(20), 2)).ok());
  RunUntilIdle();
  EXPECT_THAT(sink_->Get(kFirst).tokens, SizeIs(2));
}

TEST_F(EngineTest, RefusesMoreThanMayWait) {
  Start({.seqs = 2, .max_waiting = 3});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Submit(RequestId(i), Request(Prompt(4), 9)).ok());
  EXPECT_EQ(Submit(kThird, Request(Prompt(4), 9)).code(), absl::StatusCode::kResourceExhausted);
  RunSteps(1);
  EXPECT_TRUE(Submit(RequestId{10}, Request(Prompt(4), 9)).ok()) << "two run by now";
  EXPECT_TRUE(Submit(RequestId{11}, Request(Prompt(4), 9)).ok());
  EXPECT_EQ(Submit(kThird, Request(Prompt(4), 9)).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(RequestsCounted("RESOURCE_EXHAUSTED"), 2);
  RunUntilIdle();
  ExpectIdle();
}

TEST_F(EngineTest, RefusesWhatTheCacheCouldNeverHold) {
  Start({.blocks = 4});
  const absl::Status status = Submit(kFirst, Request(Prompt(60), 5));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("65 tokens together) exceed the KV cache"));
  EXPECT_TRUE(Submit(kFirst, Request(Prompt(60), 4)).ok());
  RunUntilIdle();
  EXPECT_THAT(sink_->Get(kFirst).tokens, SizeIs(4));
}

TEST_F(EngineTest, RefusesWhatTheModelDoesNotAllow) {
  const absl::Status status = Submit(kFirst, Request({kVocab}, 5));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(RequestsCounted("INVALID_ARGUMENT"), 1);
}

TEST_F(EngineTest, DeadlinesEndRequestsThatRunAndThatWait) {
  Start({.seqs = 1});
  GenerationRequest request = Request(Prompt(20), 100);
  request.timeout = absl::Milliseconds(25);
  ASSERT_TRUE(Submit(kFirst, request).ok());
  request.timeout = absl::Milliseconds(15);
  ASSERT_TRUE(Submit(kSecond, request).ok());
  ASSERT_TRUE(Submit(kThird, Request(Prompt(20), 1)).ok());
  RunUntilIdle();
  EXPECT_EQ(sink_->Get(kFirst).error.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(sink_->Get(kFirst).tokens, SizeIs(3)) << "at 10, 20 and, under way by then, 30 ms";
  EXPECT_EQ(sink_->Get(kSecond).error.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(sink_->Get(kSecond).tokens, SizeIs(0));
  EXPECT_TRUE(sink_->Get(kThird).finished.has_value());
  EXPECT_EQ(RequestsCounted("DEADLINE_EXCEEDED"), 2);
  ExpectIdle();
}

TEST_F(EngineTest, RefusesARequestWhoseDeadlineHasPassed) {
  GenerationRequest request = Request(Prompt(20), 100);
  request.timeout = absl::ZeroDuration();
  EXPECT_EQ(Submit(kFirst, request).code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(EngineTest, AFailingExecutorEndsEverything) {
  Start({.seqs = 1});
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 100)).ok());
  ASSERT_TRUE(Submit(kSecond, Request(Prompt(20), 100)).ok());
  RunSteps(2);
  executor_->FailWith(absl::UnavailableError("rank 1 is gone"));
  EXPECT_EQ(engine_->Run(), absl::UnavailableError("rank 1 is gone"));
  EXPECT_EQ(sink_->Get(kFirst).error, absl::UnavailableError("rank 1 is gone"));
  EXPECT_THAT(sink_->Get(kFirst).tokens, SizeIs(2));
  EXPECT_EQ(sink_->Get(kSecond).error, absl::UnavailableError("rank 1 is gone"));
  EXPECT_EQ(sink_->engine_status(), absl::UnavailableError("rank 1 is gone"));
  EXPECT_EQ(Submit(kThird, Request(Prompt(20), 1)).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(engine_->OpenSession(sink_.get()).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(engine_->RunOnce());
  EXPECT_EQ(RequestsCounted("UNAVAILABLE"), 3);
  ExpectIdle();
}

TEST_F(EngineTest, AfterAnInternalErrorSubmissionsAreUnavailable) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 100)).ok());
  executor_->FailWith(absl::InternalError("ranks disagree"));
  EXPECT_FALSE(engine_->RunOnce());
  EXPECT_EQ(sink_->Get(kFirst).error, absl::InternalError("ranks disagree"));
  EXPECT_EQ(Submit(kThird, Request(Prompt(20), 1)).code(), absl::StatusCode::kUnavailable);
}

TEST_F(EngineTest, FailEndsAnIdleEngine) {
  engine_->Fail(absl::UnavailableError("rank 1 is gone"));
  engine_->Stop();
  EXPECT_EQ(engine_->Run(), absl::UnavailableError("rank 1 is gone"));
  EXPECT_EQ(sink_->engine_status(), absl::UnavailableError("rank 1 is gone"));
}

TEST_F(EngineTest, StopEndsRequestsAsUnavailableAndRunReturnsOk) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 100)).ok());
  RunSteps(1);
  engine_->Stop();
  EXPECT_TRUE(engine_->Run().ok());
  EXPECT_EQ(sink_->Get(kFirst).error.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(executor_->steps(), 1);
  ExpectIdle();
}

TEST_F(EngineTest, DrainRefusesNewRequestsAndLetsTheOthersFinish) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 3)).ok());
  EXPECT_FALSE(engine_->Drain(absl::ZeroDuration()));
  const absl::Status status = Submit(kSecond, Request(Prompt(20), 3));
  EXPECT_EQ(status, absl::UnavailableError("the worker is draining"));
  RunUntilIdle();
  EXPECT_TRUE(sink_->Get(kFirst).finished.has_value());
  EXPECT_TRUE(engine_->Drain(absl::ZeroDuration()));
}

TEST_F(EngineTest, DrainHasNothingToWaitForAfterAFailure) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 3)).ok());
  engine_->Fail(absl::UnavailableError("rank 1 is gone"));
  EXPECT_FALSE(engine_->Drain(absl::ZeroDuration()));
  EXPECT_FALSE(engine_->RunOnce());
  EXPECT_TRUE(engine_->Drain(absl::InfiniteDuration()));
}

}  // namespace
}  // namespace phalanx
