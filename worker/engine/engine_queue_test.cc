// What waits: in which order it begins, how much of it there may be, and who is refused.
#include <optional>
#include <string>

#include "base/retry_after.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/engine/testing/engine_fixture.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

class EngineQueueTest : public EngineTest {
 protected:
  // Steps of 64 tokens, ten milliseconds each: 6,400 tokens per second.
  void MeasureSpeed() {
    constexpr int kTokens = 64 * StepSpeed::kMinSteps;
    ASSERT_TRUE(Submit(RequestId{1000}, Request(Prompt(kTokens, 400), 1)).ok());
    RunUntilIdle();
  }

  static GenerationRequest WithTimeout(GenerationRequest request, absl::Duration timeout) {
    request.timeout = timeout;
    return request;
  }
};

TEST_F(EngineQueueTest, PrioritiesAndTenantsReachTheScheduler) {
  Start({.seqs = 1});
  GenerationRequest urgent = Request(Prompt(10), 1);
  urgent.priority = 1;
  GenerationRequest other = Request(Prompt(10), 1);
  other.tenant = "other";
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(10), 1)).ok());
  ASSERT_TRUE(Submit(kSecond, urgent).ok());
  RunSteps(1);
  EXPECT_TRUE(sink_->Get(kSecond).ended());
  EXPECT_FALSE(sink_->Get(kFirst).ended());
  RunUntilIdle();
}

TEST_F(EngineQueueTest, RefusesMorePromptTokensThanMayWait) {
  Start({.step_tokens = 8, .seqs = 1, .max_waiting_tokens = 100});
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(200), 1)).ok()) << "one may wait in any case";
  EXPECT_EQ(engine_->load().waiting_tokens, 200);
  const absl::Status status = Submit(kSecond, Request(Prompt(1), 1));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("100 prompt tokens (--max_waiting_tokens)"));
  RunSteps(1);
  EXPECT_EQ(engine_->load().waiting_tokens, 0) << "it runs";
  ASSERT_TRUE(Submit(kSecond, Request(Prompt(60), 1)).ok());
  EXPECT_FALSE(Submit(kThird, Request(Prompt(41), 1)).ok());
  ASSERT_TRUE(Submit(kThird, Request(Prompt(40), 1)).ok());
  EXPECT_EQ(engine_->load().waiting_tokens, 100);
  RunSteps(1);
  EXPECT_EQ(engine_->load().waiting_tokens, 100);
  EXPECT_EQ(metrics_->waiting_tokens.Value(), 100);
  session_->Cancel(kSecond);
  RunSteps(1);
  EXPECT_EQ(engine_->load().waiting_tokens, 40);
  RunUntilIdle();
  ExpectIdle();
}

TEST_F(EngineQueueTest, TellsWhenThereMayBeRoomByTheMeasuredSpeed) {
  Start({.blocks = 256, .max_waiting = 1, .max_waiting_tokens = 100'000});
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(900), 1)).ok());
  EXPECT_EQ(RetryAfterOf(Submit(kSecond, Request(Prompt(1), 1))), absl::Seconds(1))
      << "no speed is known";
  RunUntilIdle();
  EXPECT_NEAR(metrics_->tokens_per_second.Value(), 6400, 1);
  Start({.blocks = 64, .max_waiting = 30, .max_waiting_tokens = 100'000});
  MeasureSpeed();
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(Submit(RequestId(i), Request(Prompt(900), 1)).ok());
  }
  const std::optional<absl::Duration> hint = RetryAfterOf(Submit(kSecond, Request(Prompt(1), 1)));
  EXPECT_FALSE(hint.has_value()) << "the id is in use";
  EXPECT_NEAR(
      absl::ToDoubleSeconds(RetryAfterOf(Submit(RequestId{99}, Request(Prompt(1), 1))).value()),
      27'000 / 6400.0, 0.01);
  RunUntilIdle();
}

TEST_F(EngineQueueTest, WhatCannotBeginInTimeIsRefusedBeforeItIsLate) {
  MeasureSpeed();
  const int steps = executor_->steps();
  // 0.1 s are 640 tokens.
  ASSERT_TRUE(Submit(kFirst, WithTimeout(Request(Prompt(700), 1), absl::Milliseconds(100))).ok());
  ASSERT_TRUE(Submit(kSecond, WithTimeout(Request(Prompt(600), 1), absl::Milliseconds(100))).ok());
  RunSteps(1);
  const RecordingSink::Record first = sink_->Get(kFirst);
  EXPECT_EQ(first.error.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(first.error.message()),
              HasSubstr("would take 109ms at the present speed of 6400 tokens per second, and the "
                        "deadline is in 100ms"));
  EXPECT_FALSE(first.started);
  EXPECT_TRUE(sink_->Get(kSecond).started) << "what is refused takes no time";
  EXPECT_EQ(metrics_->deadline_refusals_total.Value(), 1);
  EXPECT_EQ(RequestsCounted("DEADLINE_EXCEEDED"), 1);
  EXPECT_EQ(executor_->steps(), steps + 1);
  RunUntilIdle();
  EXPECT_THAT(sink_->Get(kSecond).tokens, SizeIs(1));
  // A long prompt in the way.
  ASSERT_TRUE(Submit(kThird, Request(Prompt(600, 3), 1)).ok());
  const RequestId fourth{4};
  ASSERT_TRUE(Submit(fourth, WithTimeout(Request(Prompt(60, 5), 1), absl::Milliseconds(100))).ok());
  RunUntilIdle();
  EXPECT_THAT(std::string(sink_->Get(fourth).error.message()), HasSubstr("would take 103ms"));
}

TEST_F(EngineQueueTest, WhatOthersComputeMakesNobodyLate) {
  MeasureSpeed();
  // 0.8 s, if each were computed by itself.
  for (int i = 0; i < 8; ++i) {
    const GenerationRequest request = Request(Prompt(640, 7), 1);
    ASSERT_TRUE(Submit(RequestId(i), WithTimeout(request, absl::Milliseconds(200))).ok());
  }
  RunUntilIdle();
  for (int i = 0; i < 8; ++i) EXPECT_THAT(sink_->Get(RequestId(i)).tokens, SizeIs(1)) << i;
  // And what is in the prefix cache by now.
  ASSERT_TRUE(
      Submit(RequestId{8}, WithTimeout(Request(Prompt(640, 7), 1), absl::Milliseconds(20))).ok());
  RunUntilIdle();
  EXPECT_EQ(metrics_->deadline_refusals_total.Value(), 0);
}

TEST_F(EngineQueueTest, NothingIsRefusedBeforeSpeedsAreMeasured) {
  ASSERT_TRUE(Submit(kFirst, WithTimeout(Request(Prompt(700), 1), absl::Milliseconds(100))).ok());
  RunSteps(1);
  EXPECT_TRUE(sink_->Get(kFirst).error.ok());
  RunUntilIdle();
  EXPECT_EQ(sink_->Get(kFirst).error.message(), "the request's deadline has passed");
  EXPECT_EQ(metrics_->deadline_refusals_total.Value(), 0);
}

TEST_F(EngineQueueTest, EqualPromptsAreComputedOnce) {
  Start({.step_tokens = 128});
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(Submit(RequestId(i), Request(Prompt(60), 3)).ok());
  RunUntilIdle();
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(sink_->Get(RequestId(i)).cached_tokens, i == 0 ? 0 : 48);
    EXPECT_EQ(sink_->Get(RequestId(i)).tokens, executor_->Continuation(Prompt(60), 3));
  }
  EXPECT_EQ(executor_->steps(), 4) << "one for the first, then three for all";
  ExpectIdle();
}

}  // namespace
}  // namespace phalanx
