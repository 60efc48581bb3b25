#include "coordinator/text/answer/detokenizer.h"

#include <string>
#include <vector>

#include "coordinator/text/testing/tiny_vocabulary.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

class DetokenizerTest : public testing::Test {
 protected:
  // One byte token for each byte.
  static std::vector<int32_t> Bytes(const std::string& text) {
    std::vector<int32_t> ids;
    for (const char byte : text) ids.push_back(static_cast<uint8_t>(byte));
    return ids;
  }

  Detokenizer Make(Detokenizer::ControlTokens control = Detokenizer::ControlTokens::kHide) const {
    return Detokenizer(&assets_, control);
  }

  const TokenizerAssets assets_ = TinyVocabulary();
};

TEST(DetokenizerEndsTest, EndTokensHaveNoTextWhateverTheirKind) {
  TokenizerAssets assets = TinyVocabulary();
  assets.eos_token_ids = {kAb, kUserToken};
  const std::vector<int32_t> ids = {'x', kAb, kUserToken, kAbc, kControl};
  EXPECT_EQ(Detokenizer(&assets, Detokenizer::ControlTokens::kHide).Push(ids), "xabc");
  EXPECT_EQ(Detokenizer(&assets, Detokenizer::ControlTokens::kSpell).Push(ids),
            "xab[tool]abc<|a|>");
}

TEST(DetokenizerSpelledTest, ControlTokensThatAreNamedHaveTextButEndsHaveNone) {
  TokenizerAssets assets = TinyVocabulary();
  const std::vector<int32_t> ids = {'x', kControl};
  const std::vector<int32_t> spelled = {kControl};
  EXPECT_EQ(Detokenizer(&assets, Detokenizer::ControlTokens::kHide).Push(ids), "x");
  EXPECT_EQ(Detokenizer(&assets, Detokenizer::ControlTokens::kHide, spelled).Push(ids), "x<|a|>");
  assets.eos_token_ids = {kControl};
  EXPECT_EQ(Detokenizer(&assets, Detokenizer::ControlTokens::kHide, spelled).Push(ids), "x");
}

TEST_F(DetokenizerTest, HoldsBackAnIncompleteCharacter) {
  Detokenizer detokenizer = Make();
  EXPECT_EQ(detokenizer.Push(Bytes("a\xf0\x9f")), "a");
  EXPECT_EQ(detokenizer.Push(Bytes("\x98")), "");
  EXPECT_EQ(detokenizer.Push(Bytes("\x80z")), "😀z");
  EXPECT_EQ(detokenizer.Flush(), "");
}

TEST_F(DetokenizerTest, ReplacesWhatNeverWasCompleted) {
  Detokenizer detokenizer = Make();
  EXPECT_EQ(detokenizer.Push(Bytes("\xe4\xbd")), "");
  EXPECT_EQ(detokenizer.Flush(), "\ufffd");
  EXPECT_EQ(detokenizer.Flush(), "");
}

TEST_F(DetokenizerTest, EverySplitGivesTheSameText) {
  const std::string texts[] = {"naïve 字 😀👍🏽 é", "\xff\xfe\xe4\xbd(\xc3",
                               "\xed\xa0\x80\xf0\x9f\x98", "a\xf4\x90\x80\x80z"};
  for (const std::string& text : texts) {
    const std::vector<int32_t> ids = Bytes(text);
    Detokenizer at_once = Make();
    std::string expected = at_once.Push(ids);
    expected += at_once.Flush();
    for (size_t first = 0; first <= ids.size(); ++first) {
      for (size_t second = first; second <= ids.size(); ++second) {
        Detokenizer detokenizer = Make();
        const absl::Span<const int32_t> all = ids;
        std::string pieces = detokenizer.Push(all.subspan(0, first));
        pieces += detokenizer.Push(all.subspan(first, second - first));
        pieces += detokenizer.Push(all.subspan(second));
        pieces += detokenizer.Flush();
        ASSERT_EQ(pieces, expected) << first << " " << second;
      }
    }
  }
}

// The expected texts are those of bytes.decode("utf-8", errors="replace") in Python 3.11.
TEST_F(DetokenizerTest, ReplacesAsPythonDoes) {
  const std::pair<std::string, std::string> cases[] = {
      {"\xed\xa0\x80", "\ufffd\ufffd\ufffd"},
      {"\xf0\x9f\x98x", "\ufffdx"},
      {"\xe0\x80\x80", "\ufffd\ufffd\ufffd"},
      {"\xc3\xc3\xa9", "\ufffdé"},
  };
  for (const auto& [bytes, text] : cases) {
    Detokenizer detokenizer = Make();
    std::string decoded = detokenizer.Push(Bytes(bytes));
    EXPECT_EQ(decoded + detokenizer.Flush(), text);
  }
}

TEST_F(DetokenizerTest, HidesOrSpellsControlTokens) {
  const std::vector<int32_t> ids = {'x', kControl, kUserToken, kAb};
  EXPECT_EQ(Make().Push(ids), "x[tool]ab");
  EXPECT_EQ(Make(Detokenizer::ControlTokens::kSpell).Push(ids), "x<|a|>[tool]ab");
}

TEST_F(DetokenizerTest, IdsOutsideTheVocabularyHaveNoText) {
  EXPECT_EQ(Make().Push({-1, 'a', 1 << 20}), "a");
}

}  // namespace
}  // namespace phalanx
