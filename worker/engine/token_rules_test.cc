#include "worker/engine/token_rules.h"

#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

std::vector<kernels::LogitEdit> Edits(const TokenRules& rules) {
  std::vector<kernels::LogitEdit> edits(rules.num_edits());
  rules.WriteEdits(absl::MakeSpan(edits));
  return edits;
}

void ExpectEdit(const kernels::LogitEdit& edit, int32_t token, int32_t count, float bias,
                int32_t seen) {
  EXPECT_EQ(edit.token, token);
  EXPECT_EQ(edit.count, count) << token;
  EXPECT_EQ(edit.bias, bias) << token;
  EXPECT_EQ(edit.seen, seen) << token;
}

TEST(TokenRulesTest, ARequestWithoutRulesHasNone) {
  EXPECT_EQ(TokenRules::Create({.temperature = 1.0f, .top_k = 5, .min_p = 0.1f}, {}, {2}, {7, 8}),
            nullptr);
  // Nothing can be held back.
  EXPECT_EQ(TokenRules::Create({}, {.min_new_tokens = 5}, {}, {7}), nullptr);
}

TEST(TokenRulesTest, TheRepetitionPenaltyIsForPromptAndAnswer) {
  const auto rules = TokenRules::Create({.repetition_penalty = 1.2f}, {}, {}, {9, 4, 9});
  ASSERT_EQ(rules->num_edits(), 2);
  ExpectEdit(Edits(*rules)[0], 4, 0, 0.0f, 1);
  ExpectEdit(Edits(*rules)[1], 9, 0, 0.0f, 1);
  rules->Accept(6);
  rules->Accept(9);
  ASSERT_EQ(rules->num_edits(), 3);
  ExpectEdit(Edits(*rules)[1], 6, 1, 0.0f, 1);
  ExpectEdit(Edits(*rules)[2], 9, 1, 0.0f, 1);
}

TEST(TokenRulesTest, TheOtherPenaltiesCountTheAnswerOnly) {
  for (const Sampling& sampling :
       {Sampling{.presence_penalty = 0.5f}, Sampling{.frequency_penalty = -0.5f}}) {
    const auto rules = TokenRules::Create(sampling, {}, {}, {9, 4, 9});
    EXPECT_EQ(rules->num_edits(), 0);
    rules->Accept(9);
    rules->Accept(9);
    ASSERT_EQ(rules->num_edits(), 1);
    ExpectEdit(Edits(*rules)[0], 9, 2, 0.0f, 1);
  }
}

TEST(TokenRulesTest, LooksAheadAsItWillBeAndChangesNothing) {
  const auto rules = TokenRules::Create({.presence_penalty = 0.5f},
                                        {.logit_bias = {{3, 1.0f}}, .min_new_tokens = 2}, {2}, {});
  ASSERT_TRUE(rules->can_look_ahead());
  rules->Accept(8);
  const std::vector<int32_t> tokens = {5, 5, 3};
  const auto ahead = rules->LookAhead(tokens);
  ASSERT_EQ(ahead.size(), tokens.size() + 1);
  for (size_t i = 0; i <= tokens.size(); ++i) {
    const std::vector<kernels::LogitEdit> edits = Edits(*rules);
    ASSERT_EQ(ahead[i].size(), edits.size()) << i;
    for (size_t e = 0; e < edits.size(); ++e) {
      ExpectEdit(ahead[i][e], edits[e].token, edits[e].count, edits[e].bias, edits[e].seen);
    }
    if (i < tokens.size()) rules->Accept(tokens[i]);
  }
}

TEST(TokenRulesTest, BiasStaysAndTokensAreNotCountedForItAlone) {
  const auto rules = TokenRules::Create({}, {.logit_bias = {{3, 1.5f}, {5, -2.0f}}}, {}, {3});
  rules->Accept(5);
  rules->Accept(6);
  ASSERT_EQ(rules->num_edits(), 2);
  ExpectEdit(Edits(*rules)[0], 3, 0, 1.5f, 0);
  ExpectEdit(Edits(*rules)[1], 5, 0, -2.0f, 0);
}

TEST(TokenRulesTest, TokensThatEndTheAnswerAreForbiddenUntilItIsLongEnough) {
  const auto rules =
      TokenRules::Create({}, {.logit_bias = {{7, 1.5f}}, .min_new_tokens = 2}, {7, 2, 7}, {1});
  ASSERT_EQ(rules->num_edits(), 2);
  ExpectEdit(Edits(*rules)[0], 2, 0, kForbidden, 0);
  ExpectEdit(Edits(*rules)[1], 7, 0, kForbidden, 0);
  rules->Accept(4);
  ExpectEdit(Edits(*rules)[1], 7, 0, kForbidden, 0);
  rules->Accept(4);
  ExpectEdit(Edits(*rules)[0], 2, 0, 0.0f, 0);
  ExpectEdit(Edits(*rules)[1], 7, 0, 1.5f, 0);
}

// Allows the token after the last one.
class NextOnly final : public TokenFilter {
 public:
  int mask_words() const override { return last_ < 0 ? 0 : 2; }
  void WriteMask(absl::Span<uint32_t> words) override {
    words[0] = words[1] = 0;
    words[(last_ + 1) / 32] = uint32_t{1} << (last_ + 1) % 32;
  }
  void Accept(int32_t token) override { last_ = token; }
  absl::Status status() const override { return absl::OkStatus(); }

 private:
  int32_t last_ = -1;
};

TEST(TokenRulesTest, AFilterHearsOfEachTokenAndMakesTheMask) {
  const auto rules = TokenRules::Create({}, {}, {}, {1}, std::make_unique<NextOnly>());
  EXPECT_EQ(rules->mask_words(), 0);
  rules->Accept(35);
  ASSERT_EQ(rules->mask_words(), 2);
  std::vector<uint32_t> words(2, ~uint32_t{0});
  rules->WriteMask(absl::MakeSpan(words));
  EXPECT_EQ(words, (std::vector<uint32_t>{0, 1u << 4}));
  EXPECT_EQ(rules->num_edits(), 0);
}

// Forces one token at the beginning of the answer, and one after each 5.
class AfterFive final : public TokenForcer {
 public:
  int32_t next() const override { return last_ == 0 ? 3 : last_ == 5 ? 6 : kernels::kNotForced; }
  void Accept(int32_t token) override { last_ = token; }

 private:
  int32_t last_ = 0;
};

TEST(TokenRulesTest, AForcerHearsOfEachTokenAndNothingElseIsForced) {
  EXPECT_EQ(TokenRules::Create({}, {.min_new_tokens = 1}, {2}, {1})->forced(), kernels::kNotForced);
  const auto rules = TokenRules::Create({.presence_penalty = 1.0f}, {}, {}, {1}, nullptr,
                                        std::make_unique<AfterFive>());
  EXPECT_EQ(rules->forced(), 3);
  rules->Accept(3);
  EXPECT_EQ(rules->forced(), kernels::kNotForced);
  rules->Accept(5);
  EXPECT_EQ(rules->forced(), 6);
  rules->Accept(6);
  EXPECT_EQ(rules->forced(), kernels::kNotForced);
  // Forced tokens count like others.
  EXPECT_EQ(rules->num_edits(), 3);
}

}  // namespace
}  // namespace phalanx
