// The real model through the real forward pass must draw the tokens that transformers draws.

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/cpu_backend.h"
#include "nlohmann/json.hpp"
#include "worker/model/testing/rank_group.h"
#include "worker/step/testing/step_builder.h"

namespace phalanx {
namespace {

struct Answer {
  std::vector<int32_t> prompt_ids;
  std::vector<int32_t> token_ids;
  float smallest_margin = 0;
  std::vector<std::pair<int32_t, float>> first_logits;
};

std::vector<Answer> ReadAnswers() {
  std::ifstream file(std::getenv("GREEDY_JSON"));
  const nlohmann::json golden = nlohmann::json::parse(file);
  std::vector<Answer> answers;
  for (const nlohmann::json& item : golden["answers"]) {
    answers.push_back(
        {item["prompt_ids"], item["token_ids"], item["smallest_margin"], item["first_logits"]});
  }
  return answers;
}

constexpr StepLimits kLimits = {
    .max_step_tokens = 128, .max_seqs = 10, .max_blocks_per_seq = 12, .kv_blocks = 120};

TestSequence Begin(const Answer& answer, int index) {
  TestSequence sequence;
  sequence.tokens = answer.prompt_ids;
  sequence.slot = index;
  // Every tenth block, last first: neighbours in a sequence are far apart in the cache.
  for (int i = kLimits.max_blocks_per_seq - 1; i >= 0; --i) {
    sequence.blocks.push_back(1 + i * kLimits.max_seqs + index);
  }
  return sequence;
}

std::vector<int32_t> Drawn(const TestSequence& sequence, const Answer& answer) {
  return {sequence.tokens.begin() + answer.prompt_ids.size(), sequence.tokens.end()};
}

// The largest difference to the golden logits of the first step.
float FirstLogitError(const Answer& answer, const std::vector<float>& logits) {
  float error = 0;
  for (const auto& [id, logit] : answer.first_logits) {
    error = std::max(error, std::abs(logits[id] - logit));
  }
  return error;
}

class SmolLm2GreedyTest : public testing::TestWithParam<int> {
 protected:
  SmolLm2GreedyTest()
      : group_(std::getenv("SMOLLM2"), /*world=*/GetParam(), kLimits,
               [] { return *kernels::MakeCpuBackend({.num_threads = 1}); }) {}

  const std::vector<Answer> answers_ = ReadAnswers();
  RankGroup group_;
};

TEST_P(SmolLm2GreedyTest, OnePromptAtATimeDrawsTheGoldenTokens) {
  ASSERT_EQ(answers_.size(), 10u);
  float largest_error = 0;
  for (const Answer& answer : answers_) {
    TestSequence sequence = Begin(answer, 0);
    while (Drawn(sequence, answer).size() < answer.token_ids.size()) {
      StepBuilder builder;
      builder.Add(sequence, sequence.pending_tokens());
      const auto step = group_.Run(builder.Finish());
      ASSERT_TRUE(step.ok()) << step.status();
      if (sequence.tokens.size() == answer.prompt_ids.size()) {
        // Below half the margin, no error can change a token.
        const float error = FirstLogitError(answer, group_.Logits(0));
        EXPECT_LT(error, answer.smallest_margin / 2);
        largest_error = std::max(largest_error, error);
      }
      sequence.tokens.push_back(step->tokens.front());
    }
    EXPECT_EQ(Drawn(sequence, answer), answer.token_ids);
  }
  RecordProperty("largest_logit_error", std::to_string(largest_error));
}

// A new sequence joins at every step; prompts come in chunks of 17 tokens beside the others'
// decoding.
TEST_P(SmolLm2GreedyTest, AllPromptsInOneContinuousBatchDrawTheGoldenTokens) {
  std::vector<TestSequence> sequences;
  const auto unfinished = [&](size_t i) {
    return Drawn(sequences[i], answers_[i]).size() < answers_[i].token_ids.size();
  };
  bool working = true;
  while (working) {
    if (sequences.size() < answers_.size()) {
      const int index = static_cast<int>(sequences.size());
      sequences.push_back(Begin(answers_[index], index));
    }
    StepBuilder builder;
    std::vector<size_t> drawing;
    working = false;
    int budget = kLimits.max_step_tokens;
    for (size_t i = 0; i < sequences.size(); ++i) {
      const int count = std::min({17, budget, sequences[i].pending_tokens()});
      if (!unfinished(i) || count == 0) continue;
      working = true;
      budget -= count;
      builder.Add(sequences[i], count);
      if (sequences[i].pending_tokens() == 0) drawing.push_back(i);
    }
    if (!working) break;
    const auto step = group_.Run(builder.Finish());
    ASSERT_TRUE(step.ok()) << step.status();
    ASSERT_EQ(step->tokens.size(), drawing.size());
    for (size_t i = 0; i < drawing.size(); ++i) {
      sequences[drawing[i]].tokens.push_back(step->tokens[i]);
    }
  }
  ASSERT_EQ(sequences.size(), answers_.size());
  for (size_t i = 0; i < answers_.size(); ++i) {
    EXPECT_EQ(Drawn(sequences[i], answers_[i]), answers_[i].token_ids) << "prompt " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Worlds, SmolLm2GreedyTest, testing::Values(1, 2, 3));

}  // namespace
}  // namespace phalanx
