// Speculation changes when tokens come, and nothing else: every test compares with the same request
// without it, or with what the fake model gives by itself.
#include <functional>
#include <map>
#include <set>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/engine/testing/engine_fixture.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;

constexpr int kPeriod = 6;

class EngineSpeculationTest : public EngineTest, public ::testing::WithParamInterface<int> {
 protected:
  EngineSpeculationTest() { StartRepeating(); }

  // With as many steps in flight as the parameter says, and a model that can be guessed.
  void StartRepeating(const std::function<void(FakeStepExecutor&)>& set_up = nullptr) {
    Start({.seqs = 16, .steps_in_flight = GetParam()});
    executor_->RepeatEvery(kPeriod);
    if (set_up) set_up(*executor_);
  }

  static GenerationRequest Guessed(GenerationRequest request, int max_draft_tokens = 8) {
    request.options.max_draft_tokens = max_draft_tokens;
    return request;
  }

  // Where tokens of Prompt(20)'s answer are that were not there before.
  static std::vector<int> NewTokens(const std::vector<int32_t>& answer) {
    std::set<int32_t> seen;
    for (const int32_t token : Prompt(20)) seen.insert(token);
    std::vector<int> places;
    for (size_t i = 0; i < answer.size(); ++i) {
      if (seen.insert(answer[i]).second) places.push_back(static_cast<int>(i));
    }
    return places;
  }

  // What becomes of the request alone, in an engine of its own.
  RecordingSink::Record Run(const GenerationRequest& request,
                            const std::function<void(FakeStepExecutor&)>& set_up = nullptr) {
    StartRepeating(set_up);
    EXPECT_TRUE(Submit(kFirst, request).ok());
    RunUntilIdle();
    RunSteps(GetParam());
    ExpectIdle();
    return sink_->Get(kFirst);
  }

  // Runs the request with and without speculation, and expects the same of both.
  RecordingSink::Record ExpectTheSame(
      const GenerationRequest& request,
      const std::function<void(FakeStepExecutor&)>& set_up = nullptr) {
    const RecordingSink::Record without = Run(request, set_up);
    const int steps = executor_->steps();
    RecordingSink::Record with = Run(Guessed(request), set_up);
    EXPECT_EQ(with.tokens, without.tokens);
    EXPECT_EQ(with.finished.has_value(), without.finished.has_value());
    if (with.finished.has_value() && without.finished.has_value()) {
      EXPECT_EQ(with.finished->reason, without.finished->reason);
    }
    EXPECT_EQ(with.error, without.error);
    EXPECT_EQ(with.drawn_log_probs.size(), without.drawn_log_probs.size());
    EXPECT_GT(with.accepted_tokens, 0);
    EXPECT_LT(executor_->steps(), steps);
    EXPECT_EQ(without.drafted_tokens, 0);
    return with;
  }
};

INSTANTIATE_TEST_SUITE_P(StepsInFlight, EngineSpeculationTest, ::testing::Values(1, 2));

TEST_P(EngineSpeculationTest, TheSameTokensComeInFewerSteps) {
  const RecordingSink::Record record = ExpectTheSame(Request(Prompt(20), 200));
  EXPECT_EQ(record.tokens, executor_->Continuation(Prompt(20), 200));
  EXPECT_LT(executor_->steps(), 150);
  EXPECT_EQ(metrics_->drafted_tokens_total.Value(), record.drafted_tokens);
  EXPECT_EQ(metrics_->accepted_tokens_total.Value(), record.accepted_tokens);
  EXPECT_EQ(metrics_->generation_tokens_total.Value(), 200);
}

TEST_P(EngineSpeculationTest, AnEndTokenAmongThoseOfAStepIsTheLast) {
  const std::vector<int32_t> whole = executor_->Continuation(Prompt(20), 60);
  int ends = 0;
  for (const int place : NewTokens(whole)) {
    GenerationRequest request = Guessed(Request(Prompt(20), 200));
    request.eos_token_ids = {whole[place]};
    const RecordingSink::Record record = Run(request);
    EXPECT_EQ(record.tokens, std::vector<int32_t>(whole.begin(), whole.begin() + place + 1));
    ASSERT_TRUE(record.finished.has_value());
    EXPECT_EQ(record.finished->reason, FinishReason::kEos);
    EXPECT_LE(record.accepted_tokens, static_cast<int>(record.tokens.size()));
    ++ends;
  }
  EXPECT_GT(ends, 3);
}

TEST_P(EngineSpeculationTest, EveryLengthIsExact) {
  const std::vector<int32_t> whole = executor_->Continuation(Prompt(20), 60);
  for (int length = 1; length <= 60; ++length) {
    const RecordingSink::Record record = Run(Guessed(Request(Prompt(20), length)));
    EXPECT_EQ(record.tokens, std::vector<int32_t>(whole.begin(), whole.begin() + length));
    ASSERT_TRUE(record.finished.has_value());
    EXPECT_EQ(record.finished->reason, FinishReason::kLength);
  }
}

TEST_P(EngineSpeculationTest, ARepetitionEndsTheAnswerWhereItDoesWithout) {
  GenerationRequest request = Request(Prompt(20), 200);
  request.options.repetition_limit = RepetitionLimit{.times = 2, .min_tokens = 12};
  const RecordingSink::Record record = ExpectTheSame(request);
  EXPECT_EQ(record.finished->reason, FinishReason::kRepetition);
}

TEST_P(EngineSpeculationTest, LogitsThatAreNoNumbersEndTheAnswerWhereTheyDoWithout) {
  // The fake model cannot compute a step that was planned ahead of such a token.
  if (GetParam() > 1) return;
  const std::vector<int32_t> whole = executor_->Continuation(Prompt(20), 60);
  const int32_t broken = whole[NewTokens(whole).back()];
  const RecordingSink::Record record = ExpectTheSame(
      Request(Prompt(20), 200), [&](FakeStepExecutor& executor) { executor.BreakAfter(broken); });
  EXPECT_EQ(record.error.code(), absl::StatusCode::kInternal);
}

TEST_P(EngineSpeculationTest, EachTokenHasItsOwnLogProb) {
  GenerationRequest request = Request(Prompt(20), 100);
  request.options.log_probs = 0;
  const auto log_prob_of = [](int32_t token) { return -static_cast<float>(token); };
  const RecordingSink::Record record = ExpectTheSame(request, [&](FakeStepExecutor& executor) {
    executor.OnResult([&](StepResult& result) {
      for (const int32_t token : result.tokens) {
        result.drawn_log_probs.push_back({.log_prob = log_prob_of(token)});
      }
    });
  });
  ASSERT_EQ(record.drawn_log_probs.size(), 100u);
  for (size_t i = 0; i < record.tokens.size(); ++i) {
    EXPECT_EQ(record.drawn_log_probs[i].log_prob, log_prob_of(record.tokens[i])) << i;
  }
}

TEST_P(EngineSpeculationTest, APromptMayBeScoredToo) {
  GenerationRequest request = Request(Prompt(150), 100);
  request.score = true;
  ExpectTheSame(request);
  EXPECT_EQ(sink_->Get(kFirst).log_probs, executor_->LogProbs(Prompt(150)));
}

TEST_P(EngineSpeculationTest, ACancelledRequestLeavesNothing) {
  for (int turns = 1; turns < 20; ++turns) {
    StartRepeating();
    ASSERT_TRUE(Submit(kFirst, Guessed(Request(Prompt(20), 200))).ok());
    RunSteps(turns);
    session_->Cancel(kFirst);
    RunUntilIdle();
    RunSteps(GetParam());
    ExpectIdle();
    const std::vector<int32_t> tokens = sink_->Get(kFirst).tokens;
    const auto count = static_cast<int>(tokens.size());
    EXPECT_EQ(tokens, executor_->Continuation(Prompt(20), count));
  }
}

// The fake model draws without looking at edits, so they are looked at here.
TEST_P(EngineSpeculationTest, EachTokenIsDrawnWithTheEditsThatItHasWithout) {
  GenerationRequest request = Request(Prompt(20), 100);
  request.options.logit_bias = {{5, 1.0f}};
  request.options.min_new_tokens = 40;
  request.eos_token_ids = {999};
  request.sampling.repetition_penalty = 1.5f;
  request.sampling.frequency_penalty = 0.5f;
  // By position; what was drawn after a wrong guess is drawn again.
  using Edits = std::map<int, std::vector<std::tuple<int, int, float, int>>>;
  Edits* edits = nullptr;
  const auto note = [&](FakeStepExecutor& executor) {
    executor.OnStep([&](const Step& step) {
      clock_.Advance(absl::Milliseconds(10));
      const SamplingBlock::ConstArrays rows = step.sampling.arrays();
      for (const kernels::SamplingRow& row : rows.sampling) {
        auto& of_row = (*edits)[row.position];
        of_row.clear();
        for (int i = row.edits_begin; i < row.edits_end; ++i) {
          const kernels::LogitEdit& edit = rows.edits[i];
          of_row.emplace_back(edit.token, edit.count, edit.bias, edit.seen);
        }
      }
    });
  };
  Edits without, with;
  edits = &without;
  const RecordingSink::Record expected = Run(request, note);
  edits = &with;
  const RecordingSink::Record record = Run(Guessed(request), note);
  EXPECT_EQ(record.tokens, expected.tokens);
  EXPECT_GT(record.accepted_tokens, 20);
  EXPECT_EQ(with.size(), 100u);
  EXPECT_EQ(with, without);
}

TEST_P(EngineSpeculationTest, OthersRunAsWithoutIt) {
  Start({.steps_in_flight = GetParam()});
  executor_->RepeatEvery(kPeriod);
  ASSERT_TRUE(Submit(kFirst, Guessed(Request(Prompt(20), 100))).ok());
  ASSERT_TRUE(Submit(kSecond, Request(Prompt(25), 50)).ok());
  RunUntilIdle();
  EXPECT_EQ(sink_->Get(kFirst).tokens, executor_->Continuation(Prompt(20), 100));
  EXPECT_EQ(sink_->Get(kSecond).tokens, executor_->Continuation(Prompt(25), 50));
  EXPECT_EQ(executor_->steps_planned_ahead() > 0, GetParam() == 2);
}

TEST_P(EngineSpeculationTest, ATextThatCannotBeGuessedIsHardlyGuessed) {
  Start({.seqs = 16, .steps_in_flight = GetParam()});
  // All runs of two tokens have been there, and one guess in eight is right.
  std::vector<int32_t> prompt;
  for (int i = 0; i < 200; ++i) prompt.push_back(i * i % 8);
  executor_->OnResult([](StepResult& result) {
    for (int32_t& token : result.tokens) token %= 8;
  });
  ASSERT_TRUE(Submit(kFirst, Guessed(Request(prompt, 600))).ok());
  RunUntilIdle();
  const RecordingSink::Record record = sink_->Get(kFirst);
  EXPECT_EQ(record.tokens.size(), 600u);
  EXPECT_GT(record.drafted_tokens, 16);
  EXPECT_LT(record.drafted_tokens, 150);
}

TEST_P(EngineSpeculationTest, DraftsOutsideOfTheirRangeAreRefused) {
  for (const int tokens : {0, kMaxDraftTokens + 1}) {
    const absl::Status status = Submit(kFirst, Guessed(Request(Prompt(20), 10), tokens));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr("max_draft_tokens"));
  }
}

}  // namespace
}  // namespace phalanx
