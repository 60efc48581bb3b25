// Requests that want their tokens several at a time.
#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "worker/engine/testing/engine_fixture.h"

namespace phalanx {
namespace {

// Of what the fake model says, so that it can be guessed.
constexpr int kPeriod = 6;

// With one and with two steps in flight.
class EngineStreamIntervalTest : public EngineTest, public ::testing::WithParamInterface<int> {
 protected:
  EngineStreamIntervalTest() { Start({.steps_in_flight = GetParam()}); }

  static GenerationRequest Every(int interval, GenerationRequest request) {
    request.options.stream_interval = interval;
    return request;
  }

  RecordingSink::Record Run(const GenerationRequest& request) {
    Start({.steps_in_flight = GetParam()});
    executor_->RepeatEvery(kPeriod);
    EXPECT_TRUE(Submit(kFirst, request).ok());
    RunUntilIdle();
    RunSteps(GetParam());
    ExpectIdle();
    return sink_->Get(kFirst);
  }
};

INSTANTIATE_TEST_SUITE_P(StepsInFlight, EngineStreamIntervalTest, ::testing::Values(1, 2));

TEST_P(EngineStreamIntervalTest, TheFirstTokenComesAtOnceAndTheLastOnesWithTheEnd) {
  const RecordingSink::Record record = Run(Every(4, Request(Prompt(20), 12)));
  EXPECT_EQ(record.tokens, executor_->Continuation(Prompt(20), 12));
  EXPECT_EQ(record.tokens_of_events, (std::vector<int>{1, 4, 4, 3}));
  ASSERT_TRUE(record.finished.has_value());
  EXPECT_EQ(record.finished->reason, FinishReason::kLength);
}

TEST_P(EngineStreamIntervalTest, NothingIsToldWhileTokensWait) {
  ASSERT_TRUE(Submit(kFirst, Every(100, Request(Prompt(20), 50))).ok());
  RunUntilIdle();
  // The first token, and the end with all others. What came before the first token is with it.
  EXPECT_EQ(sink_->calls(), 2);
  EXPECT_EQ(sink_->Get(kFirst).tokens_of_events, (std::vector<int>{1, 49}));
}

TEST_P(EngineStreamIntervalTest, EveryLengthAndEndIsExact) {
  executor_->RepeatEvery(kPeriod);
  const std::vector<int32_t> whole = executor_->Continuation(Prompt(20), 20);
  for (int length = 1; length <= 20; ++length) {
    SCOPED_TRACE(length);
    const std::vector<int32_t> expected(whole.begin(), whole.begin() + length);
    EXPECT_EQ(Run(Every(3, Request(Prompt(20), length))).tokens, expected);
    GenerationRequest request = Every(3, Request(Prompt(20), 50));
    request.eos_token_ids = {whole[length - 1]};
    const RecordingSink::Record record = Run(request);
    const auto end = std::find(whole.begin(), whole.end(), whole[length - 1]) + 1;
    EXPECT_EQ(record.tokens, std::vector<int32_t>(whole.begin(), end));
    ASSERT_TRUE(record.finished.has_value());
    EXPECT_EQ(record.finished->reason, FinishReason::kEos);
  }
}

TEST_P(EngineStreamIntervalTest, EachRequestHasItsOwn) {
  ASSERT_TRUE(Submit(kFirst, Every(5, Request(Prompt(20), 11))).ok());
  ASSERT_TRUE(Submit(kSecond, Request(Prompt(20, 300), 4)).ok());
  RunUntilIdle();
  EXPECT_EQ(sink_->Get(kFirst).tokens_of_events, (std::vector<int>{1, 5, 5}));
  EXPECT_EQ(sink_->Get(kSecond).tokens_of_events, (std::vector<int>{1, 1, 1, 1}));
}

TEST_P(EngineStreamIntervalTest, WhatWasGeneratedIsToldWithAnError) {
  GenerationRequest request = Every(100, Request(Prompt(20), 500));
  // Each step takes ten milliseconds.
  request.timeout = absl::Milliseconds(205);
  const RecordingSink::Record late = Run(request);
  EXPECT_EQ(late.error.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_GT(late.tokens.size(), 10u);
  EXPECT_EQ(static_cast<double>(late.tokens.size()), metrics_->generation_tokens_total.Value());

  Start({.steps_in_flight = GetParam()});
  ASSERT_TRUE(Submit(kFirst, Every(100, Request(Prompt(20), 500))).ok());
  RunSteps(8);
  engine_->Stop();
  while (engine_->RunOnce()) {
  }
  const RecordingSink::Record stopped = sink_->Get(kFirst);
  EXPECT_EQ(stopped.error.code(), absl::StatusCode::kUnavailable);
  EXPECT_GT(stopped.tokens.size(), 3u);
  EXPECT_EQ(static_cast<double>(stopped.tokens.size()), metrics_->generation_tokens_total.Value());
}

TEST_P(EngineStreamIntervalTest, NothingIsToldOfACancelledRequest) {
  ASSERT_TRUE(Submit(kFirst, Every(100, Request(Prompt(20), 500))).ok());
  RunSteps(8);
  EXPECT_EQ(sink_->Get(kFirst).tokens.size(), 1u);
  session_->Cancel(kFirst);
  RunUntilIdle();
  RunSteps(GetParam());
  EXPECT_EQ(sink_->Get(kFirst).tokens.size(), 1u);
  EXPECT_FALSE(sink_->Get(kFirst).ended());
  ExpectIdle();
}

TEST_P(EngineStreamIntervalTest, LogProbabilitiesComeWithTheirTokens) {
  executor_->OnResult([](StepResult& result) {
    for (const int32_t token : result.tokens) {
      result.drawn_log_probs.push_back({.log_prob = static_cast<float>(-token)});
    }
  });
  GenerationRequest request = Every(3, Request(Prompt(20), 8));
  request.options.log_probs = 0;
  ASSERT_TRUE(Submit(kFirst, request).ok());
  RunUntilIdle();
  const RecordingSink::Record record = sink_->Get(kFirst);
  ASSERT_EQ(record.tokens.size(), 8u);
  ASSERT_EQ(record.drawn_log_probs.size(), 8u);
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(record.drawn_log_probs[i].log_prob, static_cast<float>(-record.tokens[i]));
  }
}

TEST_P(EngineStreamIntervalTest, GuessesAreCountedWithTheirTokens) {
  for (const int interval : {2, 5, 256}) {
    SCOPED_TRACE(interval);
    GenerationRequest request = Every(interval, Request(Prompt(20), 200));
    request.options.max_draft_tokens = 8;
    const RecordingSink::Record record = Run(request);
    EXPECT_EQ(record.tokens, executor_->Continuation(Prompt(20), 200));
    EXPECT_EQ(record.drafted_tokens, metrics_->drafted_tokens_total.Value());
    EXPECT_EQ(record.accepted_tokens, metrics_->accepted_tokens_total.Value());
    EXPECT_GT(record.accepted_tokens, 0);
    for (size_t i = 1; i + 1 < record.tokens_of_events.size(); ++i) {
      EXPECT_GE(record.tokens_of_events[i], interval);
    }
  }
}

TEST_P(EngineStreamIntervalTest, OtherIntervalsAreRefused) {
  for (const int interval : {-1, 0, 257}) {
    EXPECT_EQ(Submit(kFirst, Every(interval, Request(Prompt(20), 4))).code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(Submit(kFirst, Every(256, Request(Prompt(20), 4))).ok());
}

}  // namespace
}  // namespace phalanx
