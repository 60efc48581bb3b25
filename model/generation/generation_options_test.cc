#include "model/generation/generation_options.h"

#include <cmath>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

constexpr int kVocab = 100;
constexpr int kMaxNewTokens = 50;

std::string Refusal(const GenerationOptions& options) {
  return std::string(CheckGenerationOptions(options, kVocab, kMaxNewTokens, "sampling.").message());
}

TEST(CheckGenerationOptionsTest, WhatIsInRangePasses) {
  EXPECT_EQ(Refusal({}), "");
  EXPECT_EQ(Refusal({.logit_bias = {{0, -100.0f}, {99, 100.0f}},
                     .min_new_tokens = kMaxNewTokens,
                     .log_probs = kMaxTopTokens,
                     .repetition_limit = RepetitionLimit{2, 256, 2},
                     .reasoning_limit = ReasoningLimit{0, {99}, true},
                     .max_draft_tokens = 1}),
            "");
  EXPECT_EQ(Refusal({.max_draft_tokens = kMaxDraftTokens}), "");
}

TEST(CheckGenerationOptionsTest, TheRefusalNamesTheField) {
  EXPECT_EQ(Refusal({.logit_bias = {{100, 1.0f}}}),
            "sampling.logit_bias: token 100 is not in [0, 99]");
  EXPECT_EQ(Refusal({.logit_bias = {{-1, 1.0f}}}),
            "sampling.logit_bias: token -1 is not in [0, 99]");
  EXPECT_EQ(Refusal({.logit_bias = {{5, 1.0f}, {5, 2.0f}}}), "sampling.logit_bias: token 5 twice");
  EXPECT_EQ(Refusal({.logit_bias = {{5, 100.5f}}}),
            "sampling.logit_bias: 100.5 for token 5 is not in [-100, 100]");
  EXPECT_EQ(Refusal({.logit_bias = {{5, NAN}}}),
            "sampling.logit_bias: nan for token 5 is not in [-100, 100]");
  EXPECT_EQ(Refusal({.logit_bias = std::vector<LogitBias>(301)}),
            "sampling.logit_bias: 301 tokens, at most 300");
  EXPECT_EQ(Refusal({.min_new_tokens = 51}), "min_new_tokens: 51 is not in [0, 50]");
  EXPECT_EQ(Refusal({.min_new_tokens = -1}), "min_new_tokens: -1 is not in [0, 50]");
  EXPECT_EQ(Refusal({.log_probs = 21}), "log_probs.top: 21 is not in [0, 20]");
  EXPECT_EQ(Refusal({.repetition_limit = RepetitionLimit{.times = 1}}),
            "repetition_limit.times: 1 is not in [2, 1000]");
  EXPECT_EQ(Refusal({.repetition_limit = RepetitionLimit{.max_period_tokens = 257}}),
            "repetition_limit.max_period_tokens: 257 is not in [1, 256]");
  EXPECT_EQ(Refusal({.repetition_limit = RepetitionLimit{.min_tokens = 1}}),
            "repetition_limit.min_tokens: 1 is not in [2, 1000000]");
  EXPECT_EQ(Refusal({.reasoning_limit = ReasoningLimit{-1, {5}}}),
            "reasoning_limit.max_tokens: -1 is below 0");
  EXPECT_EQ(Refusal({.reasoning_limit = ReasoningLimit{}}),
            "reasoning_limit.close_token_ids: 0 tokens, must be 1 to 64");
  EXPECT_EQ(Refusal({.reasoning_limit = ReasoningLimit{0, std::vector<int32_t>(65)}}),
            "reasoning_limit.close_token_ids: 65 tokens, must be 1 to 64");
  EXPECT_EQ(Refusal({.reasoning_limit = ReasoningLimit{0, {5, 100}}}),
            "reasoning_limit.close_token_ids: token 100 is not in [0, 99]");
  EXPECT_EQ(Refusal({.max_draft_tokens = 0}), "speculation.max_draft_tokens: 0 is not in [1, 32]");
  EXPECT_EQ(Refusal({.max_draft_tokens = 33}),
            "speculation.max_draft_tokens: 33 is not in [1, 32]");
}

}  // namespace
}  // namespace phalanx
