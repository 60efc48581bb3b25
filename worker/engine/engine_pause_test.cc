// An engine whose worker group is lost and forms again.
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "model/spec/long_rope.h"
#include "worker/engine/testing/engine_fixture.h"

namespace phalanx {
namespace {

const absl::Status kLost = absl::UnavailableError("rank 1 was killed by signal 9 (Killed)");

class EnginePauseTest : public EngineTest, public testing::WithParamInterface<int> {
 protected:
  EnginePauseTest() {
    Start({.steps_in_flight = GetParam()});
    executor_->SetRecovers(true);
  }

  // Loses the step that is awaited next, and turns the loop until the engine has noticed.
  void LoseAStep() {
    executor_->FailWith(kLost);
    ASSERT_TRUE(engine_->RunOnce());
    ASSERT_TRUE(engine_->Pause(absl::ZeroDuration()));
  }

  void Recover() {
    executor_->Recover();
    engine_->Resume();
  }

  void RunUntilEnded(RequestId id) {
    for (int turn = 0; turn < 1000 && !sink_->Get(id).ended(); ++turn) {
      ASSERT_TRUE(engine_->RunOnce());
    }
    ASSERT_TRUE(sink_->Get(id).ended());
  }
};

TEST_P(EnginePauseTest, ARequestGoesOnWithTheTokensThatItWouldHaveHad) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 30)).ok());
  for (int turn = 0; turn < 10; ++turn) ASSERT_TRUE(engine_->RunOnce());
  const size_t before = sink_->Get(kFirst).tokens.size();
  ASSERT_GT(before, 0u);
  LoseAStep();
  EXPECT_EQ(sink_->Get(kFirst).tokens.size(), before);
  EXPECT_FALSE(sink_->Get(kFirst).ended());
  Recover();
  RunUntilEnded(kFirst);
  EXPECT_EQ(sink_->Get(kFirst).tokens, executor_->Continuation(Prompt(20), 30));
}

TEST_P(EnginePauseTest, ALossInEveryStepChangesNoToken) {
  for (int turns = 0; turns < 12; ++turns) {
    Start({.step_tokens = 16, .steps_in_flight = GetParam()});
    executor_->SetRecovers(true);
    ASSERT_TRUE(Submit(kFirst, Request(Prompt(40), 12)).ok());
    ASSERT_TRUE(Submit(kSecond, Request(Prompt(40), 12)).ok());
    ASSERT_TRUE(Submit(kThird, Request(Prompt(9, 500), 5)).ok());
    for (int turn = 0; turn < turns; ++turn) ASSERT_TRUE(engine_->RunOnce());
    LoseAStep();
    Recover();
    RunUntilEnded(kFirst);
    RunUntilEnded(kSecond);
    RunUntilEnded(kThird);
    EXPECT_EQ(sink_->Get(kFirst).tokens, executor_->Continuation(Prompt(40), 12)) << turns;
    EXPECT_EQ(sink_->Get(kSecond).tokens, executor_->Continuation(Prompt(40), 12)) << turns;
    EXPECT_EQ(sink_->Get(kThird).tokens, executor_->Continuation(Prompt(9, 500), 5)) << turns;
    EXPECT_EQ(engine_->load().used_kv_blocks, 0);
    EXPECT_EQ(engine_->load().waiting_tokens, 0);
  }
}

// Guesses that were in the lost step are forgotten with it.
TEST_P(EnginePauseTest, ALossInAStepWithGuessesChangesNoToken) {
  for (int turns = 1; turns < 12; ++turns) {
    Start({.steps_in_flight = GetParam()});
    executor_->SetRecovers(true);
    executor_->RepeatEvery(5);
    GenerationRequest request = Request(Prompt(40), 40);
    request.options.max_draft_tokens = 4;
    ASSERT_TRUE(Submit(kFirst, request).ok());
    for (int turn = 0; turn < turns; ++turn) ASSERT_TRUE(engine_->RunOnce());
    LoseAStep();
    Recover();
    RunUntilEnded(kFirst);
    EXPECT_EQ(sink_->Get(kFirst).tokens, executor_->Continuation(Prompt(40), 40)) << turns;
    EXPECT_GT(sink_->Get(kFirst).accepted_tokens, 0);
    EXPECT_EQ(engine_->load().used_kv_blocks, 0);
  }
}

// The lost step may be the one that draws the last token with the short list.
TEST_P(EnginePauseTest, ALossAroundTheSwitchOfTheRotaryListChangesNoToken) {
  const RopePlan rope = PlanRope(LongRopePolicy::kReference, 64, 50, 30);
  ASSERT_EQ(rope.switch_above_tokens, 64);
  for (int turns = 8; turns < 24; ++turns) {
    Start({.steps_in_flight = GetParam(), .original_context_tokens = 64});
    executor_->SetRecovers(true);
    GenerationRequest request = Request(Prompt(50), 30);
    request.long_rope_policy = LongRopePolicy::kReference;
    ASSERT_TRUE(Submit(kFirst, request).ok());
    for (int turn = 0; turn < turns; ++turn) ASSERT_TRUE(engine_->RunOnce());
    LoseAStep();
    Recover();
    RunUntilEnded(kFirst);
    EXPECT_EQ(sink_->Get(kFirst).tokens, executor_->Continuation(Prompt(50), 30, rope)) << turns;
  }
}

TEST_P(EnginePauseTest, ScoresOfALostStepAreMadeAgain) {
  for (int turns = 0; turns < 6; ++turns) {
    Start({.step_tokens = 16, .steps_in_flight = GetParam()});
    executor_->SetRecovers(true);
    GenerationRequest request = Request(Prompt(60), 0);
    request.score = true;
    ASSERT_TRUE(Submit(kFirst, request).ok());
    for (int turn = 0; turn < turns && !sink_->Get(kFirst).ended(); ++turn) {
      ASSERT_TRUE(engine_->RunOnce());
    }
    if (sink_->Get(kFirst).ended()) break;
    LoseAStep();
    Recover();
    RunUntilEnded(kFirst);
    EXPECT_EQ(sink_->Get(kFirst).log_probs, executor_->LogProbs(Prompt(60))) << turns;
  }
}

TEST_P(EnginePauseTest, RequestsComeAreCancelledAndRunLateMeanwhile) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 30)).ok());
  for (int turn = 0; turn < 5; ++turn) ASSERT_TRUE(engine_->RunOnce());
  LoseAStep();
  const int steps = executor_->steps();
  session_->Cancel(kFirst);
  GenerationRequest hasty = Request(Prompt(8), 4);
  hasty.timeout = absl::Seconds(1);
  ASSERT_TRUE(Submit(kSecond, hasty).ok());
  ASSERT_TRUE(Submit(kThird, Request(Prompt(8), 4)).ok());
  ASSERT_TRUE(engine_->RunOnce());
  clock_.Advance(absl::Seconds(2));
  ASSERT_TRUE(engine_->RunOnce());
  EXPECT_EQ(sink_->Get(kSecond).error.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(engine_->load().running_requests, 0);
  EXPECT_EQ(engine_->load().waiting_requests, 1);
  EXPECT_EQ(executor_->steps(), steps) << "a step during the pause";
  Recover();
  RunUntilEnded(kThird);
  EXPECT_EQ(sink_->Get(kThird).tokens, executor_->Continuation(Prompt(8), 4));
}

TEST_P(EnginePauseTest, ARequestThatOnlyLosesStepsEnds) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 30)).ok());
  for (int loss = 0; loss < 3; ++loss) {
    EXPECT_FALSE(sink_->Get(kFirst).ended()) << loss;
    LoseAStep();
    Recover();
  }
  EXPECT_EQ(sink_->Get(kFirst).error.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(sink_->Get(kFirst).error.message(),
            "the worker group was lost 3 times while it worked on this request");
  ASSERT_TRUE(Submit(kSecond, Request(Prompt(20), 3)).ok());
  RunUntilEnded(kSecond);
  EXPECT_EQ(sink_->Get(kSecond).tokens, executor_->Continuation(Prompt(20), 3));
}

TEST_P(EnginePauseTest, AnIdleEnginePausesToo) {
  std::thread loop([this] { EXPECT_TRUE(engine_->Run().ok()); });
  // The fake clock stands still, so this ends only when the engine thread has paused.
  EXPECT_TRUE(engine_->Pause(absl::Seconds(1)));
  engine_->Resume();
  engine_->Stop();
  loop.join();
  EXPECT_TRUE(engine_->Pause(absl::ZeroDuration())) << "an engine that has ended uses no executor";
}

TEST_P(EnginePauseTest, AFailureThatIsFinalEndsThePausedEngine) {
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(20), 30)).ok());
  ASSERT_TRUE(engine_->RunOnce());
  LoseAStep();
  engine_->Fail(absl::UnavailableError("rank 1 did not come back"));
  EXPECT_FALSE(engine_->RunOnce());
  EXPECT_EQ(sink_->Get(kFirst).error.message(), "rank 1 did not come back");
}

INSTANTIATE_TEST_SUITE_P(StepsInFlight, EnginePauseTest, testing::Values(1, 2));

}  // namespace
}  // namespace phalanx
