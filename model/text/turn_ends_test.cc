#include "model/text/turn_ends.h"

#include <string>

#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TokenizerAssets Assets() {
  TokenizerAssets assets;
  const auto add = [&](absl::string_view bytes, TokenKind kind) {
    assets.token_bytes.emplace_back(bytes);
    assets.token_kinds.push_back(kind);
  };
  add("<|im_end|>", TokenKind::kControl);      // 0
  add("<|eot_id|>", TokenKind::kUserDefined);  // 1
  add("<|end|>", TokenKind::kNormal);          // 2: nothing makes it
  add("a", TokenKind::kNormal);                // 3
  add("b", TokenKind::kNormal);                // 4
  add("ab", TokenKind::kNormal);               // 5: a merge makes it
  add("<tool>", TokenKind::kUserDefined);      // 6
  add("<|eom_id|>", TokenKind::kUnused);       // 7
  assets.merges = {{3, 4}};
  return assets;
}

TEST(TurnEndsTest, SpellingsCountWhateverTheStoredKind) {
  EXPECT_THAT(TurnEnds(Assets(), {}), ElementsAre(0, 1, 2));
  EXPECT_THAT(TurnEnds(Assets(), {5, -1, 6}), ElementsAre(0, 1, 2, 5, 6));
}

TEST(TurnEndsTest, ASpellingThatTextIsMergedIntoIsNone) {
  TokenizerAssets assets = Assets();
  assets.token_bytes[3] = "<|end";
  assets.token_bytes[4] = "|>";
  assets.token_bytes[5] = "<|end|>";
  assets.token_bytes[2] = "c";
  EXPECT_THAT(TurnEnds(assets, {}), ElementsAre(0, 1));
}

TEST(TurnEndsTest, OrdinaryTextIsWhatBytesAndMergesMake) {
  const TokenizerAssets assets = Assets();
  for (const int32_t id : {3, 4, 5}) EXPECT_TRUE(IsOrdinaryText(assets, id)) << id;
  for (const int32_t id : {0, 1, 2, 6, 7}) EXPECT_FALSE(IsOrdinaryText(assets, id)) << id;
}

TEST(TurnEndsTest, PromotionMakesControlTokensOfAllButTextAndPadding) {
  TokenizerAssets assets = Assets();
  for (int32_t id = 0; id < 8; ++id) PromoteToControl(id, assets);
  EXPECT_THAT(assets.promoted_token_ids, ElementsAre(1, 2, 6));
  for (const int32_t id : {0, 1, 2, 6}) EXPECT_EQ(assets.token_kinds[id], TokenKind::kControl);
  for (const int32_t id : {3, 4, 5}) EXPECT_EQ(assets.token_kinds[id], TokenKind::kNormal);
  EXPECT_EQ(assets.token_kinds[7], TokenKind::kUnused);
  TokenizerAssets untouched = Assets();
  PromoteToControl(0, untouched);
  EXPECT_THAT(untouched.promoted_token_ids, IsEmpty());
}

}  // namespace
}  // namespace phalanx
