#include "worker/engine/reasoning_budget.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/step_batch.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;

// The 256 bytes, "</think>", and a token whose end begins the tag.
constexpr int32_t kClose = 256;
constexpr int32_t kPart = 257;
constexpr int32_t kEnd = 258;

std::shared_ptr<const ConstraintVocabulary> Vocabulary() {
  static const auto* const vocabulary = [] {
    TokenizerAssets assets;
    for (int byte = 0; byte < 256; ++byte) {
      assets.token_bytes.emplace_back(1, static_cast<char>(byte));
    }
    assets.token_kinds.assign(256, TokenKind::kNormal);
    for (const char* text : {"</think>", "so</thi", "<end>"}) assets.token_bytes.push_back(text);
    assets.token_kinds.push_back(TokenKind::kUserDefined);
    assets.token_kinds.push_back(TokenKind::kNormal);
    assets.token_kinds.push_back(TokenKind::kControl);
    assets.eos_token_ids = {kEnd};
    return new std::shared_ptr<const ConstraintVocabulary>(
        *ConstraintVocabulary::Create(assets, 270));
  }();
  return *vocabulary;
}

std::unique_ptr<ReasoningBudget> Budget(int32_t max_tokens, bool opened_by_prompt = true) {
  return *ReasoningBudget::Create(Vocabulary(), {.max_tokens = max_tokens,
                                                 .close_token_ids = {'\n', kClose},
                                                 .opened_by_prompt = opened_by_prompt});
}

void Write(ReasoningBudget& budget, absl::string_view text) {
  for (const char byte : text) {
    EXPECT_EQ(budget.next(), kernels::kNotForced) << byte;
    budget.Accept(static_cast<uint8_t>(byte));
  }
}

// The budget forces the closing tag, and nothing after it.
void ExpectCloses(ReasoningBudget& budget) {
  for (const int32_t token : {int32_t{'\n'}, kClose}) {
    EXPECT_EQ(budget.next(), token);
    budget.Accept(token);
  }
  Write(budget, "yes <think>");
}

TEST(ReasoningBudgetTest, ClosesTheBlockWhenItsTokensAreUsedUp) {
  const auto budget = Budget(4);
  Write(*budget, "well");
  ExpectCloses(*budget);
}

TEST(ReasoningBudgetTest, ZeroClosesAtOnce) { ExpectCloses(*Budget(0)); }

TEST(ReasoningBudgetTest, ABlockThatClosedByItselfIsLeftAlone) {
  const auto budget = Budget(20);
  Write(*budget, "hm</think>");
  Write(*budget, "twenty tokens and more");
  const auto last = Budget(3);
  Write(*last, "hm");
  last->Accept(kClose);
  Write(*last, "yes");
}

TEST(ReasoningBudgetTest, ABlockThatTheAnswerOpensCountsItsTag) {
  const auto budget = Budget(9, /*opened_by_prompt=*/false);
  Write(*budget, "<think>hm");
  ExpectCloses(*budget);
  // The tag itself is never cut short.
  const auto none = Budget(0, /*opened_by_prompt=*/false);
  Write(*none, " <think>");
  ExpectCloses(*none);
}

TEST(ReasoningBudgetTest, AnAnswerWithoutABlockIsLeftAlone) {
  const auto budget = Budget(3, /*opened_by_prompt=*/false);
  Write(*budget, "yes <think> no");
}

TEST(ReasoningBudgetTest, ATagThatIsHalfWrittenIsWrittenAnew) {
  const auto budget = Budget(1);
  budget->Accept(kPart);
  ExpectCloses(*budget);
}

TEST(ReasoningBudgetTest, TokensThatCloseNothingAreRefused) {
  const auto budget = ReasoningBudget::Create(Vocabulary(), {.close_token_ids = {'\n', kPart}});
  EXPECT_EQ(budget.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(budget.status().message()), HasSubstr("close_token_ids"));
}

}  // namespace
}  // namespace phalanx
