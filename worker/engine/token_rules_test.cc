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
  rules->Accept(8);
  const std::vector<int32_t> tokens = {5, 5, 3};
  const auto ahead = rules->LookAhead(tokens);
  ASSERT_EQ(ahead.size(), tokens.size() + 1);
  for (size_t i = 0; i <= tokens.size(); ++i) {
    const std::vector<kernels::LogitEdit> edits = Edits(*rules);
    ASSERT_EQ(ahead[i].edits.size(), edits.size()) << i;
    EXPECT_TRUE(ahead[i].mask.empty());
    for (size_t e = 0; e < edits.size(); ++e) {
      ExpectEdit(ahead[i].edits[e], edits[e].token, edits[e].count, edits[e].bias, edits[e].seen);
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

// Allows the token after the last one, and can make no mask behind 37.
class NextOnly final : public TokenFilter {
 public:
  int mask_words() const override { return last_ < 0 ? 0 : 2; }
  void WriteMask(absl::Span<uint32_t> words) override {
    words[0] = words[1] = 0;
    if (last_ == 37) status_ = absl::InvalidArgumentError("too much");
    if (status_.ok()) words[(last_ + 1) / 32] = uint32_t{1} << (last_ + 1) % 32;
  }
  void Accept(int32_t token) override {
    if (last_ >= 0 && token != last_ + 1) status_ = absl::InvalidArgumentError("not the next");
    last_ = token;
  }
  absl::Status status() const override { return status_; }
  std::unique_ptr<TokenFilter> Copy() const override { return std::make_unique<NextOnly>(*this); }

 private:
  int32_t last_ = -1;
  absl::Status status_;
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

TEST(TokenRulesTest, LooksAheadAsFarAsTheFilterGoes) {
  const auto rules = TokenRules::Create({}, {}, {}, {1}, std::make_unique<NextOnly>());
  rules->Accept(33);
  EXPECT_EQ(rules->CountAllowed({34, 35, 36}), 3);
  EXPECT_EQ(rules->CountAllowed({34, 35, 37}), 2);
  EXPECT_EQ(rules->CountAllowed({35}), 0);
  const std::vector<DrawRules> ahead = rules->LookAhead({34, 35});
  ASSERT_EQ(ahead.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(ahead[i].mask, (std::vector<uint32_t>{0, 1u << (2 + i)})) << i;
  }
  EXPECT_EQ(rules->LookAhead({34, 36, 37}).size(), 2u) << "36 is not the next";
  EXPECT_EQ(rules->LookAhead({34, 35, 36, 37, 38}).size(), 4u) << "no mask behind 37";
  // Nothing of this has happened to the sequence itself.
  rules->Accept(34);
  EXPECT_EQ(rules->CountAllowed({35}), 1);
}

TEST(TokenRulesTest, TheNextDrawFailsWithItsOwnMask) {
  auto filter = std::make_unique<NextOnly>();
  const TokenFilter& seen = *filter;
  const auto rules = TokenRules::Create({}, {}, {}, {1}, std::move(filter));
  rules->Accept(37);
  const std::vector<DrawRules> ahead = rules->LookAhead({38});
  ASSERT_EQ(ahead.size(), 1u);
  EXPECT_EQ(ahead[0].mask, (std::vector<uint32_t>{0, 0}));
  EXPECT_FALSE(seen.status().ok());
}

// Forces one token at the beginning of the answer, and one after each 5.
class AfterFive final : public TokenForcer {
 public:
  int32_t next() const override { return last_ == 0 ? 3 : last_ == 5 ? 6 : kernels::kNotForced; }
  void Accept(int32_t token) override { last_ = token; }
  std::unique_ptr<TokenForcer> Copy() const override { return std::make_unique<AfterFive>(*this); }

 private:
  int32_t last_ = 0;
};

TEST(TokenRulesTest, LooksAheadAtForcedTokens) {
  const auto rules = TokenRules::Create({}, {}, {}, {1}, nullptr, std::make_unique<AfterFive>());
  EXPECT_EQ(rules->CountAllowed({3, 5, 6, 7}), 4);
  EXPECT_EQ(rules->CountAllowed({3, 5, 7}), 2);
  EXPECT_EQ(rules->CountAllowed({4}), 0);
  const std::vector<DrawRules> ahead = rules->LookAhead({3, 5});
  ASSERT_EQ(ahead.size(), 3u);
  EXPECT_EQ(ahead[0].forced, 3);
  EXPECT_EQ(ahead[1].forced, kernels::kNotForced);
  EXPECT_EQ(ahead[2].forced, 6);
}

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
