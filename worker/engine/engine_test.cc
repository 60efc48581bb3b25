// How the engine runs requests.
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/engine/testing/engine_fixture.h"

namespace phalanx {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

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

TEST_F(EngineTest, TheAgeOfTheLastStepCountsWhileThereIsWork) {
  clock_.Advance(absl::Hours(1));
  EXPECT_EQ(engine_->step_age(), absl::ZeroDuration());
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 2)).ok());
  clock_.Advance(absl::Seconds(3));
  EXPECT_EQ(engine_->step_age(), absl::Seconds(3));
  RunSteps(1);
  EXPECT_EQ(engine_->step_age(), absl::ZeroDuration());
  clock_.Advance(absl::Seconds(4));
  ASSERT_TRUE(Submit(kSecond, Request(Prompt(20), 2)).ok());
  EXPECT_EQ(engine_->step_age(), absl::Seconds(4)) << "a new request is no step";
  RunUntilIdle();
  clock_.Advance(absl::Hours(1));
  EXPECT_EQ(engine_->step_age(), absl::ZeroDuration());
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
  EXPECT_EQ(sink_->calls(), 1) << "that it has started; no token yet";
  EXPECT_TRUE(sink_->Get(kFirst).started);
  EXPECT_THAT(sink_->Get(kFirst).tokens, IsEmpty());
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

TEST_F(EngineTest, PlansTheNextStepWhileOneRuns) {
  Start({.steps_in_flight = 2});
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(5), 20)).ok());
  RunUntilIdle();
  EXPECT_EQ(executor_->steps(), 20);
  EXPECT_EQ(executor_->steps_planned_ahead(), 19) << "all but the first";
  EXPECT_EQ(sink_->Get(kFirst).tokens, executor_->Continuation(Prompt(5), 20));
}

TEST_F(EngineTest, AStepThatWasPlannedForAnEndedRequestIsDropped) {
  Start({.steps_in_flight = 2});
  GenerationRequest request = Request(Prompt(5), 20);
  const std::vector<int32_t> tokens = executor_->Continuation(Prompt(5), 20);
  request.eos_token_ids = {tokens[3]};
  ASSERT_TRUE(Submit(kFirst, request).ok());
  RunUntilIdle();
  EXPECT_EQ(sink_->Get(kFirst).tokens, std::vector<int32_t>(tokens.begin(), tokens.begin() + 4));
  EXPECT_GT(engine_->load().used_kv_blocks, 0) << "a step in flight has them";
  RunSteps(1);
  EXPECT_EQ(executor_->steps(), 5);
  ExpectIdle();
}

TEST_F(EngineTest, StepsInFlightAreTimedOneAfterTheOther) {
  Start({.steps_in_flight = 2});
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(5), 20)).ok());
  RunUntilIdle();
  EXPECT_DOUBLE_EQ(metrics_->step_seconds.Collect().histogram.sample_sum, 0.2);
}

}  // namespace
}  // namespace phalanx
