// How requests, sessions and the engine end, and what is refused.
#include <functional>
#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/engine/testing/engine_fixture.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

using EngineEndsTest = EngineTest;

TEST_F(EngineEndsTest, ACancelledRequestEndsWithoutAWord) {
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

TEST_F(EngineEndsTest, ARequestCanBeCancelledBeforeItsFirstStep) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 100)).ok());
  session_->Cancel(kFirst);
  RunSteps(1);
  EXPECT_EQ(executor_->steps(), 0);
  EXPECT_EQ(sink_->calls(), 0);
  ExpectIdle();
}

TEST_F(EngineEndsTest, CancellingWhatIsUnknownOrOverIsIgnored) {
  session_->Cancel(kThird);
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 1)).ok());
  RunUntilIdle();
  session_->Cancel(kFirst);
  RunSteps(1);
  EXPECT_EQ(RequestsCounted("CANCELLED"), 0);
}

TEST_F(EngineEndsTest, ASessionTakesItsRequestsWithItAndLeavesTheOthers) {
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

TEST_F(EngineEndsTest, CancelAllEndsAllRequestsOfTheSession) {
  for (int i = 0; i < 12; ++i) ASSERT_TRUE(Submit(RequestId(i), Request(Prompt(20), 10)).ok());
  RunSteps(2);
  session_->CancelAll();
  RunSteps(1);
  EXPECT_EQ(RequestsCounted("CANCELLED"), 12);
  ExpectIdle();
}

TEST_F(EngineEndsTest, AnIdIsFreeAgainOnceItsRequestHasEnded) {
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

TEST_F(EngineEndsTest, RefusesMoreThanMayWait) {
  Start({.seqs = 2, .max_waiting = 3});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Submit(RequestId(i), Request(Prompt(4), 9)).ok());
  const absl::Status status = Submit(kThird, Request(Prompt(4), 9));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("limit of 3 requests (--max_waiting)"));
  RunSteps(1);
  EXPECT_TRUE(Submit(RequestId{10}, Request(Prompt(4), 9)).ok()) << "two run by now";
  EXPECT_TRUE(Submit(RequestId{11}, Request(Prompt(4), 9)).ok());
  EXPECT_EQ(Submit(kThird, Request(Prompt(4), 9)).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(RequestsCounted("RESOURCE_EXHAUSTED"), 2);
  RunUntilIdle();
  ExpectIdle();
}

TEST_F(EngineEndsTest, RefusesWhatTheCacheCouldNeverHold) {
  Start({.blocks = 4});
  const absl::Status status = Submit(kFirst, Request(Prompt(60), 5));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("65 tokens together) exceed the KV cache"));
  EXPECT_TRUE(Submit(kFirst, Request(Prompt(60), 4)).ok());
  RunUntilIdle();
  EXPECT_THAT(sink_->Get(kFirst).tokens, SizeIs(4));
}

TEST_F(EngineEndsTest, RefusesWhatTheModelDoesNotAllow) {
  const absl::Status status = Submit(kFirst, Request({kVocab}, 5));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(RequestsCounted("INVALID_ARGUMENT"), 1);
}

TEST_F(EngineEndsTest, DeadlinesEndRequestsThatRunAndThatWait) {
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

TEST_F(EngineEndsTest, RefusesARequestWhoseDeadlineHasPassed) {
  GenerationRequest request = Request(Prompt(20), 100);
  request.timeout = absl::ZeroDuration();
  EXPECT_EQ(Submit(kFirst, request).code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(EngineEndsTest, AFailingExecutorEndsEverything) {
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

TEST_F(EngineEndsTest, AfterAnInternalErrorSubmissionsAreUnavailable) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 100)).ok());
  executor_->FailWith(absl::InternalError("ranks disagree"));
  EXPECT_FALSE(engine_->RunOnce());
  EXPECT_EQ(sink_->Get(kFirst).error, absl::InternalError("ranks disagree"));
  EXPECT_EQ(Submit(kThird, Request(Prompt(20), 1)).code(), absl::StatusCode::kUnavailable);
}

TEST_F(EngineEndsTest, LogitsThatAreNoNumbersEndTheirOwnRequestOnly) {
  constexpr int32_t kBroken = 900;
  executor_->BreakAfter(kBroken);
  GenerationRequest score = Request(Prompt(20, kBroken - 10), 0);
  score.score = true;
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 5)).ok());
  ASSERT_TRUE(Submit(kSecond, Request({kBroken}, 5)).ok());
  ASSERT_TRUE(Submit(kThird, score).ok());
  RunUntilIdle();
  EXPECT_EQ(sink_->Get(kFirst).tokens, executor_->Continuation(Prompt(20), 5));
  EXPECT_TRUE(sink_->Get(kFirst).finished.has_value());
  for (const RequestId broken : {kSecond, kThird}) {
    const RecordingSink::Record record = sink_->Get(broken);
    EXPECT_TRUE(record.tokens.empty());
    EXPECT_FALSE(record.finished.has_value());
    EXPECT_EQ(record.error.code(), absl::StatusCode::kInternal);
    EXPECT_NE(record.error.message().find("logits that are not numbers"), absl::string_view::npos)
        << record.error;
  }
  EXPECT_EQ(RequestsCounted("INTERNAL"), 2);
  ExpectIdle();
  // The engine goes on.
  constexpr RequestId kFourth{4};
  ASSERT_TRUE(Submit(kFourth, Request(Prompt(20), 5)).ok());
  RunUntilIdle();
  EXPECT_TRUE(sink_->Get(kFourth).finished.has_value());
}

TEST_F(EngineEndsTest, LogitsMayBreakAfterSomeTokens) {
  const std::vector<int32_t> tokens = executor_->Continuation(Prompt(20), 5);
  executor_->BreakAfter(tokens[2]);
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 5)).ok());
  RunUntilIdle();
  EXPECT_EQ(sink_->Get(kFirst).tokens, std::vector<int32_t>(tokens.begin(), tokens.begin() + 3));
  EXPECT_EQ(sink_->Get(kFirst).error.code(), absl::StatusCode::kInternal);
  ExpectIdle();
}

TEST_F(EngineEndsTest, FailEndsAnIdleEngine) {
  engine_->Fail(absl::UnavailableError("rank 1 is gone"));
  engine_->Stop();
  EXPECT_EQ(engine_->Run(), absl::UnavailableError("rank 1 is gone"));
  EXPECT_EQ(sink_->engine_status(), absl::UnavailableError("rank 1 is gone"));
}

TEST_F(EngineEndsTest, StopEndsRequestsAsUnavailableAndRunReturnsOk) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 100)).ok());
  RunSteps(1);
  engine_->Stop();
  EXPECT_TRUE(engine_->Run().ok());
  EXPECT_EQ(sink_->Get(kFirst).error.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(executor_->steps(), 1);
  ExpectIdle();
}

TEST_F(EngineEndsTest, DrainRefusesNewRequestsAndLetsTheOthersFinish) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 3)).ok());
  EXPECT_FALSE(engine_->Drain(absl::ZeroDuration()));
  const absl::Status status = Submit(kSecond, Request(Prompt(20), 3));
  EXPECT_EQ(status, absl::UnavailableError("the worker is draining"));
  RunUntilIdle();
  EXPECT_TRUE(sink_->Get(kFirst).finished.has_value());
  EXPECT_TRUE(engine_->Drain(absl::ZeroDuration()));
}

TEST_F(EngineEndsTest, DrainWaitsUntilTheLastEventsAreTold) {
  // Asks while it is being told.
  class DrainingSink final : public EventSink {
   public:
    explicit DrainingSink(Engine* engine) : engine_(engine) {}
    void OnStep(absl::Span<const RequestEvent> events, const EngineLoad&) override {
      EXPECT_TRUE(events.at(0).finished.has_value());
      drained_.push_back(engine_->Drain(absl::ZeroDuration()));
    }
    void OnEngineEnded(const absl::Status&) override {}
    const std::vector<bool>& drained() const { return drained_; }

   private:
    Engine* const engine_;
    std::vector<bool> drained_;
  };
  DrainingSink sink(engine_.get());
  std::unique_ptr<EngineSession> session = engine_->OpenSession(&sink).value();
  ASSERT_TRUE(session->Submit(kFirst, Request(Prompt(20), 1)).ok());
  RunUntilIdle();
  EXPECT_EQ(sink.drained(), std::vector<bool>{false});
  EXPECT_TRUE(engine_->Drain(absl::ZeroDuration()));
  session.reset();
}

TEST_F(EngineEndsTest, StopEndsRequestsInTheOrderInWhichTheyCame) {
  class OrderSink final : public EventSink {
   public:
    void OnStep(absl::Span<const RequestEvent> events, const EngineLoad&) override {
      for (const RequestEvent& event : events) ids_.push_back(event.id);
    }
    void OnEngineEnded(const absl::Status&) override {}
    const std::vector<RequestId>& ids() const { return ids_; }

   private:
    std::vector<RequestId> ids_;
  };
  OrderSink sink;
  std::unique_ptr<EngineSession> session = engine_->OpenSession(&sink).value();
  std::vector<RequestId> submitted;
  for (int i = 0; i < 16; ++i) {
    submitted.push_back(RequestId(100 - i));
    ASSERT_TRUE(session->Submit(submitted.back(), Request(Prompt(4), 5)).ok());
  }
  engine_->Stop();
  EXPECT_FALSE(engine_->RunOnce());
  EXPECT_EQ(sink.ids(), submitted);
  session.reset();
}

TEST_F(EngineEndsTest, DrainHasNothingToWaitForAfterAFailure) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 3)).ok());
  engine_->Fail(absl::UnavailableError("rank 1 is gone"));
  EXPECT_FALSE(engine_->Drain(absl::ZeroDuration()));
  EXPECT_FALSE(engine_->RunOnce());
  EXPECT_TRUE(engine_->Drain(absl::InfiniteDuration()));
}

TEST_F(EngineEndsTest, StopLeavesNoStepBehind) {
  Start({.steps_in_flight = 2});
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(5), 20)).ok());
  RunSteps(3);
  engine_->Stop();
  EXPECT_FALSE(engine_->RunOnce());
  EXPECT_EQ(executor_->steps(), 4) << "the step in flight was awaited, and no other one planned";
  ExpectIdle();
}

TEST_F(EngineEndsTest, AFailureOfTheOlderOfTwoStepsEndsEverything) {
  Start({.steps_in_flight = 2});
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(5), 20)).ok());
  RunSteps(3);
  executor_->FailWith(absl::UnavailableError("rank 1 is gone"));
  EXPECT_FALSE(engine_->RunOnce());
  EXPECT_EQ(sink_->Get(kFirst).error, absl::UnavailableError("rank 1 is gone"));
  EXPECT_EQ(sink_->Get(kFirst).tokens.size(), 3u);
  ExpectIdle();
}

// A result that does not fit its step would give tokens to the wrong requests.
TEST_F(EngineEndsTest, AResultOfAnotherSizeEndsEverything) {
  for (const auto& spoil : std::vector<std::function<void(StepResult&)>>{
           [](StepResult& result) { result.tokens.clear(); },
           [](StepResult& result) { result.tokens.push_back(1); },
           [](StepResult& result) { result.log_probs.push_back(1); }}) {
    Start({});
    executor_->OnResult(spoil);
    ASSERT_TRUE(Submit(kFirst, Request(Prompt(5), 20)).ok());
    EXPECT_FALSE(engine_->RunOnce());
    EXPECT_EQ(sink_->Get(kFirst).error.code(), absl::StatusCode::kInternal);
  }
}

}  // namespace
}  // namespace phalanx
