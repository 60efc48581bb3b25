#include "coordinator/text/tokenizer/make_pre_tokenizer.h"

#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/text/split_patterns.h"

namespace phalanx {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> Pieces(absl::string_view text) {
  std::vector<std::string> pieces;
  const auto pre_tokenizer = MakePreTokenizer({{kDigitPattern}, {kGpt2Pattern}});
  EXPECT_TRUE(pre_tokenizer.ok()) << pre_tokenizer.status();
  EXPECT_TRUE((*pre_tokenizer)
                  ->Split(text, [&](absl::string_view piece) { pieces.emplace_back(piece); })
                  .ok());
  return pieces;
}

TEST(PreTokenizeTest, AWordTakesOneSpaceBeforeIt) {
  EXPECT_THAT(Pieces(""), IsEmpty());
  EXPECT_THAT(Pieces("Hello world"), ElementsAre("Hello", " world"));
  EXPECT_THAT(Pieces("a  b"), ElementsAre("a", " ", " b"));
  EXPECT_THAT(Pieces("a\n\nb"), ElementsAre("a", "\n", "\n", "b"));
  EXPECT_THAT(Pieces("a \n"), ElementsAre("a", " \n"));
  EXPECT_THAT(Pieces("a   "), ElementsAre("a", "   "));
  EXPECT_THAT(Pieces(" "), ElementsAre(" "));
}

TEST(PreTokenizeTest, EveryDigitIsAPieceAndEndsTheTextBeforeIt) {
  EXPECT_THAT(Pieces("x12 3"), ElementsAre("x", "1", "2", " ", "3"));
  EXPECT_THAT(Pieces("a  1"), ElementsAre("a", "  ", "1"));
  EXPECT_THAT(Pieces("x²"), ElementsAre("x", "²"));
}

TEST(PreTokenizeTest, ContractionsAreLowerCase) {
  EXPECT_THAT(Pieces("it's we'll"), ElementsAre("it", "'s", " we", "'ll"));
  EXPECT_THAT(Pieces("IT'S"), ElementsAre("IT", "'", "S"));
}

TEST(PreTokenizeTest, PunctuationStaysTogether) {
  EXPECT_THAT(Pieces("wait... what?!"), ElementsAre("wait", "...", " what", "?!"));
  EXPECT_THAT(Pieces(" 😀😀x"), ElementsAre(" 😀😀", "x"));
}

TEST(PreTokenizeTest, ThePiecesOfAnyBytesAreTheText) {
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string text(random() % 40, '\0');
    for (char& byte : text)
      byte = static_cast<char>(random() % 4 == 0 ? random() : 32 + random() % 64);
    std::string joined;
    for (const std::string& piece : Pieces(text)) {
      EXPECT_FALSE(piece.empty());
      joined += piece;
    }
    ASSERT_EQ(joined, text);
  }
}

}  // namespace
}  // namespace phalanx
