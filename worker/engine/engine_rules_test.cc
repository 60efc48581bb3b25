// What a request can ask of its answer beyond sampling parameters, through the engine.
#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "worker/engine/testing/engine_fixture.h"

namespace phalanx {
namespace {

class EngineRulesTest : public EngineTest, public ::testing::WithParamInterface<int> {
 protected:
  // With as many steps in flight as the parameter says.
  EngineRulesTest() { Start({.steps_in_flight = GetParam()}); }
};

INSTANTIATE_TEST_SUITE_P(StepsInFlight, EngineRulesTest, ::testing::Values(1, 2));

// The fake model draws without looking at edits, so they are looked at here.
TEST_P(EngineRulesTest, EachDrawHasTheEditsOfAllTokensBeforeIt) {
  const std::vector<int32_t> tokens = executor_->Continuation(Prompt(20), 6);
  std::vector<std::vector<int32_t>> edited;
  executor_->OnStep([&](const Step& step) {
    const SamplingBlock::ConstArrays rows = step.sampling.arrays();
    if (rows.sampling.empty()) return;
    EXPECT_EQ(rows.sampling[0].repetition_penalty, 1.5f);
    std::vector<int32_t>& ids = edited.emplace_back();
    for (const kernels::LogitEdit& edit : rows.edits) ids.push_back(edit.token);
  });
  GenerationRequest request = Request(Prompt(20), 6);
  request.sampling.repetition_penalty = 1.5f;
  ASSERT_TRUE(Submit(kFirst, request).ok());
  RunUntilIdle();
  EXPECT_EQ(sink_->Get(kFirst).tokens, tokens);
  ASSERT_EQ(edited.size(), 6);
  for (size_t draw = 0; draw < edited.size(); ++draw) {
    std::set<int32_t> expected;
    for (const int32_t token : Prompt(20)) expected.insert(token);
    expected.insert(tokens.begin(), tokens.begin() + draw);
    EXPECT_EQ(edited[draw], std::vector<int32_t>(expected.begin(), expected.end())) << draw;
  }
}

TEST_P(EngineRulesTest, ARequestWithRulesDoesNotHoldUpOthers) {
  GenerationRequest request = Request(Prompt(20), 8);
  request.options.logit_bias = {{5, 1.0f}};
  ASSERT_TRUE(Submit(kFirst, request).ok());
  ASSERT_TRUE(Submit(kSecond, Request(Prompt(20, 300), 8)).ok());
  RunUntilIdle();
  EXPECT_EQ(sink_->Get(kFirst).tokens, executor_->Continuation(Prompt(20), 8));
  EXPECT_EQ(sink_->Get(kSecond).tokens, executor_->Continuation(Prompt(20, 300), 8));
  EXPECT_EQ(executor_->steps_planned_ahead() > 0, GetParam() == 2);
}

TEST_P(EngineRulesTest, ARequestMayBeScoredAndThenGenerate) {
  GenerationRequest request = Request(Prompt(150), 5);
  request.score = true;
  ASSERT_TRUE(Submit(kFirst, request).ok());
  ASSERT_TRUE(Submit(kSecond, Request(Prompt(20, 300), 30)).ok());
  RunUntilIdle();
  const RecordingSink::Record record = sink_->Get(kFirst);
  EXPECT_EQ(record.tokens, executor_->Continuation(Prompt(150), 5));
  EXPECT_EQ(record.log_probs, executor_->LogProbs(Prompt(150)));
  ASSERT_TRUE(record.finished.has_value());
  EXPECT_EQ(record.finished->reason, FinishReason::kLength);
  EXPECT_EQ(record.cached_tokens, 0);
  ExpectIdle();
}

// Both are computed again from the beginning after a preemption, and told once.
TEST_P(EngineRulesTest, ScoresAndTokensAreToldOnceThoughTheRequestWasPreempted) {
  Start({.blocks = 16, .steps_in_flight = GetParam()});
  GenerationRequest request = Request(Prompt(60, 300), 90);
  request.score = true;
  ASSERT_TRUE(Submit(kFirst, Request(Prompt(100), 100)).ok());
  ASSERT_TRUE(Submit(kSecond, request).ok());
  RunUntilIdle();
  EXPECT_GT(metrics_->preemptions_total.Value(), 0);
  const RecordingSink::Record record = sink_->Get(kSecond);
  EXPECT_EQ(record.tokens, executor_->Continuation(Prompt(60, 300), 90));
  EXPECT_EQ(record.log_probs, executor_->LogProbs(Prompt(60, 300)));
}

TEST_P(EngineRulesTest, AnAnswerThatRepeatsItselfEnds) {
  executor_->OnResult(
      [](StepResult& result) { std::fill(result.tokens.begin(), result.tokens.end(), 7); });
  GenerationRequest request = Request(Prompt(20), 50);
  request.options.repetition_limit = {.times = 3, .max_period_tokens = 4, .min_tokens = 6};
  ASSERT_TRUE(Submit(kFirst, request).ok());
  ASSERT_TRUE(Submit(kSecond, Request(Prompt(20, 300), 50)).ok());
  RunUntilIdle();
  EXPECT_EQ(sink_->Get(kFirst).tokens, std::vector<int32_t>(6, 7));
  EXPECT_EQ(sink_->Get(kFirst).finished->reason, FinishReason::kRepetition);
  EXPECT_EQ(sink_->Get(kSecond).tokens.size(), 50);
  ExpectIdle();
}

TEST_P(EngineRulesTest, LogProbsGoToThoseWhoAskedForThem) {
  std::vector<int32_t> asked;
  executor_->OnStep([&](const Step& step) {
    for (const kernels::SamplingRow& row : step.sampling.arrays().sampling) {
      asked.push_back(row.log_probs);
    }
  });
  executor_->OnResult([](StepResult& result) {
    for (const int32_t token : result.tokens) {
      result.drawn_log_probs.push_back({.log_prob = static_cast<float>(-token)});
    }
  });
  GenerationRequest request = Request(Prompt(20), 4);
  request.options.log_probs = 5;
  ASSERT_TRUE(Submit(kFirst, request).ok());
  ASSERT_TRUE(Submit(kSecond, Request(Prompt(20, 300), 4)).ok());
  RunUntilIdle();
  EXPECT_EQ(std::count(asked.begin(), asked.end(), 5), 4);
  EXPECT_EQ(std::count(asked.begin(), asked.end(), kernels::kNoLogProbs), 4);
  const RecordingSink::Record record = sink_->Get(kFirst);
  ASSERT_EQ(record.drawn_log_probs.size(), 4);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(record.drawn_log_probs[i].log_prob, static_cast<float>(-record.tokens[i]));
  }
  EXPECT_TRUE(sink_->Get(kSecond).drawn_log_probs.empty());
}

TEST_P(EngineRulesTest, OptionsOutsideTheirRangesAreRefused) {
  GenerationRequest request = Request(Prompt(20), 4);
  request.options.min_new_tokens = 5;
  EXPECT_EQ(Submit(kFirst, request),
            absl::InvalidArgumentError("min_new_tokens: 5 is not in [0, 4]"));
  request.options = {.logit_bias = {{kVocab, 1.0f}}};
  EXPECT_EQ(Submit(kFirst, request).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace phalanx
