// Steps whose sampling is made while their forward part runs: what comes between the two parts.
#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/engine/testing/constraint_fixture.h"

namespace phalanx {
namespace {

using ::testing::SizeIs;

constexpr char kRegex[] = "[a-f]{30}";
constexpr int kAnswerTokens = 31;
const absl::Status kLost = absl::UnavailableError("rank 1 was killed by signal 9 (Killed)");

class EngineSplitStepsTest : public ConstraintEngineTest {
 protected:
  // With two steps in flight. What kRegex needs is kept already, so that steps can be counted.
  void StartWarm(Sizes sizes = {}, const ConstraintLimits& limits = {}) {
    sizes.steps_in_flight = 2;
    StartWithConstraints(sizes, limits);
    executor_->SetRecovers(true);
    ASSERT_TRUE(Submit(RequestId(99), Constrained(kRegex, 70)).ok());
    RunUntilIdle();
    // A step that was planned before the last token was known.
    RunSteps(1);
    expected_ = sink_->Get(RequestId(99)).tokens;
    ASSERT_THAT(expected_, SizeIs(kAnswerTokens));
  }

  void Recover() {
    ASSERT_TRUE(engine_->Pause(absl::ZeroDuration()));
    executor_->Recover();
    engine_->Resume();
  }

  // Of the request that StartWarm has run.
  std::vector<int32_t> expected_;
  int steps_ = 0;
};

TEST_F(EngineSplitStepsTest, AConstrainedStreamHasAPartInEveryStep) {
  StartWarm();
  const int steps = executor_->steps();
  const int ahead = executor_->steps_planned_ahead();
  const int split = executor_->split_steps();
  ASSERT_TRUE(Submit(kFirst, Constrained(kRegex, 70)).ok());
  GenerationRequest other = Request(Prompt(30, 7), kAnswerTokens + 1);
  ASSERT_TRUE(Submit(kSecond, other).ok());
  RunUntilIdle();
  EXPECT_EQ(sink_->Get(kFirst).tokens, expected_);
  EXPECT_EQ(sink_->Get(kSecond).tokens,
            executor_->Continuation(other.prompt_token_ids, kAnswerTokens + 1));
  EXPECT_EQ(executor_->steps() - steps, kAnswerTokens + 1);
  EXPECT_EQ(executor_->steps_planned_ahead() - ahead, kAnswerTokens);
  // The last step has only the other request, whose sampling needs nothing that is not known.
  EXPECT_EQ(executor_->split_steps() - split, kAnswerTokens + 1);
}

TEST_F(EngineSplitStepsTest, PenaltiesAreWorkedOutForAStepThatIsPlannedAhead) {
  std::vector<std::vector<kernels::LogitEdit>> edits[2];
  for (const int steps_in_flight : {1, 2}) {
    Start({.steps_in_flight = steps_in_flight});
    executor_->OnStep([&](const Step& step) {
      const SamplingBlock::ConstArrays rows = step.sampling.arrays();
      edits[steps_in_flight - 1].emplace_back(rows.edits.begin(), rows.edits.end());
    });
    GenerationRequest request = Request(Prompt(20), 30);
    request.sampling.frequency_penalty = 0.5f;
    ASSERT_TRUE(Submit(kFirst, request).ok());
    RunUntilIdle();
    EXPECT_EQ(executor_->steps_planned_ahead(), steps_in_flight == 1 ? 0 : 29);
    ASSERT_THAT(edits[steps_in_flight - 1], SizeIs(30));
  }
  for (size_t i = 0; i < 30; ++i) {
    ASSERT_EQ(edits[1][i].size(), edits[0][i].size());
    for (size_t e = 0; e < edits[0][i].size(); ++e) {
      EXPECT_EQ(edits[1][i][e].token, edits[0][i][e].token);
      EXPECT_EQ(edits[1][i][e].count, edits[0][i][e].count);
    }
  }
}

// The step behind its last one is in flight when its end is known: it has no row there.
TEST_F(EngineSplitStepsTest, ARequestThatHasEndedIsNotSampledAnyMore) {
  StartWarm();
  std::vector<int32_t> rows;
  executor_->OnStep(
      [&](const Step& step) { rows.push_back(step.sampling.counts().num_logit_rows); });
  ASSERT_TRUE(Submit(kFirst, Constrained(kRegex, 70)).ok());
  RunUntilIdle();
  RunSteps(1);
  ASSERT_THAT(rows, SizeIs(kAnswerTokens + 1));
  EXPECT_EQ(rows[kAnswerTokens - 1], 1);
  EXPECT_EQ(rows[kAnswerTokens], 0);
  ExpectIdle();
}

TEST_F(EngineSplitStepsTest, AMaskThatCannotBeMadeEndsItsRequestAlone) {
  StartWarm({}, {.max_lexer_states = 50});
  ASSERT_TRUE(Submit(kFirst, Constrained("(a|b)*a(a|b){60}c", 200)).ok());
  ASSERT_TRUE(Submit(kSecond, Constrained(kRegex, 70)).ok());
  GenerationRequest other = Request(Prompt(30), 150);
  ASSERT_TRUE(Submit(kThird, other).ok());
  RunUntilIdle();
  const RecordingSink::Record record = sink_->Get(kFirst);
  EXPECT_EQ(record.error.code(), absl::StatusCode::kInvalidArgument) << record.error;
  EXPECT_GT(record.tokens.size(), 1u);
  EXPECT_EQ(sink_->Get(kSecond).tokens, expected_);
  EXPECT_EQ(sink_->Get(kThird).tokens, executor_->Continuation(other.prompt_token_ids, 150));
  EXPECT_EQ(RequestsCounted("INVALID_ARGUMENT"), 1);
  RunSteps(1);
  ExpectIdle();
}

// At each of its steps, while that runs and the next one is launched.
TEST_F(EngineSplitStepsTest, ACancelledRequestLeavesTheOthersTheirTokens) {
  for (int at = 1; at < kAnswerTokens; ++at) {
    StartWarm();
    int step = 0;
    executor_->OnStep([&](const Step&) {
      if (++step == at) session_->Cancel(kSecond);
    });
    ASSERT_TRUE(Submit(kFirst, Constrained(kRegex, 70)).ok());
    ASSERT_TRUE(Submit(kSecond, Constrained(kRegex, 70)).ok());
    RunUntilIdle();
    EXPECT_EQ(sink_->Get(kFirst).tokens, expected_) << at;
    EXPECT_FALSE(sink_->Get(kSecond).ended());
    EXPECT_THAT(sink_->Get(kSecond).tokens, SizeIs(at));
    RunSteps(1);
    ExpectIdle();
  }
}

TEST_F(EngineSplitStepsTest, ADeadlineMayPassBetweenTheParts) {
  StartWarm();
  GenerationRequest request = Constrained(kRegex, 70);
  request.timeout = absl::Milliseconds(105);
  ASSERT_TRUE(Submit(kFirst, std::move(request)).ok());
  ASSERT_TRUE(Submit(kSecond, Constrained(kRegex, 70)).ok());
  RunUntilIdle();
  EXPECT_TRUE(absl::IsDeadlineExceeded(sink_->Get(kFirst).error));
  EXPECT_EQ(sink_->Get(kSecond).tokens, expected_);
  RunSteps(1);
  ExpectIdle();
}

// The other ranks have launched the forward part when the way to them is lost.
TEST_F(EngineSplitStepsTest, ALossBetweenThePartsChangesNoToken) {
  for (int turns = 0; turns < kAnswerTokens; ++turns) {
    StartWarm();
    ASSERT_TRUE(Submit(kFirst, Constrained(kRegex, 70)).ok());
    ASSERT_TRUE(Submit(kSecond, Request(Prompt(9, 500), 40)).ok());
    RunSteps(turns);
    executor_->FailSamplingWith(kLost);
    RunSteps(1);
    EXPECT_EQ(executor_->dropped_steps(), 1);
    Recover();
    RunUntilIdle();
    EXPECT_EQ(sink_->Get(kFirst).tokens, expected_) << turns;
    EXPECT_EQ(sink_->Get(kSecond).tokens, executor_->Continuation(Prompt(9, 500), 40)) << turns;
    RunSteps(1);
    ExpectIdle();
  }
}

TEST_F(EngineSplitStepsTest, AStepIsDroppedWithTheOneThatItsSamplingNeeds) {
  for (int turns = 1; turns < kAnswerTokens; ++turns) {
    StartWarm();
    ASSERT_TRUE(Submit(kFirst, Constrained(kRegex, 70)).ok());
    RunSteps(turns);
    executor_->FailWith(kLost);
    RunSteps(1);
    EXPECT_EQ(sink_->Get(kFirst).tokens.size(), static_cast<size_t>(turns));
    Recover();
    RunUntilIdle();
    EXPECT_EQ(sink_->Get(kFirst).tokens, expected_) << turns;
    RunSteps(1);
    ExpectIdle();
  }
}

TEST_F(EngineSplitStepsTest, ARequestMayLoseThreeStepsBetweenTheirParts) {
  StartWarm();
  ASSERT_TRUE(Submit(kFirst, Constrained(kRegex, 70)).ok());
  for (int loss = 0; loss < 3; ++loss) {
    EXPECT_FALSE(sink_->Get(kFirst).ended());
    executor_->FailSamplingWith(kLost);
    RunSteps(1);
    Recover();
  }
  EXPECT_TRUE(absl::IsUnavailable(sink_->Get(kFirst).error));
}

TEST_F(EngineSplitStepsTest, TheEngineMayEndBetweenTheParts) {
  StartWarm();
  executor_->OnStep([&](const Step&) { engine_->Stop(); });
  ASSERT_TRUE(Submit(kFirst, Constrained(kRegex, 70)).ok());
  RunSteps(1);
  EXPECT_FALSE(engine_->RunOnce());
  EXPECT_TRUE(absl::IsUnavailable(sink_->Get(kFirst).error));
}

// Guesses beside constraints and limits of the reasoning: fewer steps and the same tokens.
TEST_F(EngineSplitStepsTest, ConstrainedAnswersMayBeGuessed) {
  const auto run = [&](int steps_in_flight, int max_draft_tokens, GenerationRequest request) {
    StartWithConstraints({.steps_in_flight = steps_in_flight});
    executor_->RepeatEvery(5);
    if (max_draft_tokens > 0) request.options.max_draft_tokens = max_draft_tokens;
    // Once more, when what it needs is there.
    for (const RequestId id : {kFirst, kSecond}) {
      const int before = executor_->steps();
      EXPECT_TRUE(Submit(id, request).ok());
      RunUntilIdle();
      RunSteps(steps_in_flight);
      ExpectIdle();
      steps_ = executor_->steps() - before;
    }
    EXPECT_EQ(sink_->Get(kFirst).tokens, sink_->Get(kSecond).tokens);
    return sink_->Get(kSecond);
  };
  std::vector<GenerationRequest> requests = {
      Constrained("([a-d]{3} ){4,30}", 80), Constrained("(abcde|ab[x-z]de){10,30}", 80),
      Constrained("(one|two|three)(, (one|two|three))*", 80)};
  requests.push_back(Constrained("[a-c]{40}", 80));
  requests.back().constraint->begin = AnswerBegin::kInsideThinkBlock;
  requests.back().options.reasoning_limit = {
      .max_tokens = 30,
      .close_token_ids = {'<', '/', 't', 'h', 'i', 'n', 'k', '>'},
      .opened_by_prompt = true};
  requests.push_back(requests.back());
  requests.back().constraint.reset();
  requests.push_back(requests[0]);
  requests.back().sampling.frequency_penalty = 1.0f;
  int accepted = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    const std::vector<int32_t> expected = run(1, 0, requests[i]).tokens;
    const int steps = steps_;
    ASSERT_GT(expected.size(), 10u) << i;
    for (const int steps_in_flight : {1, 2}) {
      for (const int max_draft_tokens : {1, 3, 8}) {
        const RecordingSink::Record record = run(steps_in_flight, max_draft_tokens, requests[i]);
        EXPECT_EQ(record.tokens, expected) << i << ", " << max_draft_tokens;
        EXPECT_TRUE(record.finished.has_value());
        accepted += record.accepted_tokens;
        // With two in flight there is one that was planned before the end was known.
        if (record.accepted_tokens > 0) {
          EXPECT_LT(steps_, steps + steps_in_flight - 1) << i;
        }
      }
    }
  }
  EXPECT_GT(accepted, 200);
}

// What guesses need of the lexer counts towards its limit, so that may be met a little sooner.
TEST_F(EngineSplitStepsTest, AConstraintThatBecomesTooMuchEndsWithItsErrorDespiteGuesses) {
  const auto run = [&](int max_draft_tokens) {
    StartWithConstraints({}, {.max_lexer_states = 40});
    executor_->RepeatEvery(5);
    GenerationRequest request = Constrained("(a|b)*a(a|b){60}c", 200);
    if (max_draft_tokens > 0) request.options.max_draft_tokens = max_draft_tokens;
    EXPECT_TRUE(Submit(kFirst, request).ok());
    RunUntilIdle();
    ExpectIdle();
    return sink_->Get(kFirst);
  };
  const RecordingSink::Record expected = run(0);
  ASSERT_EQ(expected.error.code(), absl::StatusCode::kInvalidArgument);
  const RecordingSink::Record record = run(8);
  EXPECT_EQ(record.error, expected.error);
  ASSERT_GT(record.tokens.size() + 4, expected.tokens.size());
  ASSERT_LE(record.tokens.size(), expected.tokens.size());
  EXPECT_TRUE(std::equal(record.tokens.begin(), record.tokens.end(), expected.tokens.begin()));
}

TEST_F(EngineSplitStepsTest, PreemptionsChangeNoToken) {
  // Two sequences of 20 + 31 tokens do not fit into six blocks.
  StartWarm({.blocks = 6, .prefix_cache = false});
  ASSERT_TRUE(Submit(kFirst, Constrained(kRegex, 70)).ok());
  ASSERT_TRUE(Submit(kSecond, Constrained(kRegex, 70)).ok());
  RunUntilIdle();
  EXPECT_GT(metrics_->preemptions_total.Value(), 0);
  EXPECT_EQ(sink_->Get(kFirst).tokens, expected_);
  EXPECT_EQ(sink_->Get(kSecond).tokens, expected_);
  RunSteps(1);
  ExpectIdle();
}

}  // namespace
}  // namespace phalanx
