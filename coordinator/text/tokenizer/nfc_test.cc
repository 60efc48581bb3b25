#include "coordinator/text/tokenizer/nfc.h"

#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

TEST(NfcTest, ComposesAndOrders) {
  EXPECT_EQ(ToNfc(""), "");
  EXPECT_EQ(ToNfc("e\u0301"), "é");
  EXPECT_EQ(ToNfc("a\u0301\u0323"), "ạ\u0301");
  EXPECT_EQ(ToNfc("\u1112\u1161\u11ab"), "한");
  EXPECT_EQ(ToNfc("\u212b\u2126\u037e"), "ÅΩ;");
  EXPECT_EQ(ToNfc("\u0958"), "\u0915\u093c") << "excluded from composition";
  EXPECT_EQ(ToNfc("plain é 字"), "plain é 字");
}

TEST(NfcTest, MarksYoungerThanTheReferenceStayWhereTheyAre) {
  EXPECT_EQ(ToNfc("a\u1abf\u0334"), "a\u1abf\u0334");
  EXPECT_EQ(ToNfc("a\u0316\u0334"), "a\u0334\u0316");
}

TEST(NfcTest, BytesThatAreNoTextStay) {
  EXPECT_EQ(ToNfc("e\xff\u0301\xc3"), "e\xff\u0301\xc3");
  EXPECT_EQ(ToNfc("e\u0301\xff"), "é\xff");
}

TEST(NfcTest, LongRowsOfMarksAreNoTrouble) {
  // An insertion sort would take 10^11 steps.
  std::string marks = "a";
  std::string sorted = "a";
  for (int i = 0; i < 300000; ++i) marks += "\u0315\u0316";  // Classes 232 and 220.
  for (int i = 0; i < 300000; ++i) sorted += "\u0316";
  for (int i = 0; i < 300000; ++i) sorted += "\u0315";
  EXPECT_EQ(ToNfc(marks), sorted);
}

TEST(NfcTest, TellsTextThatNeedsNoLook) {
  EXPECT_TRUE(IsPlainlyNfc("naïve \u02ff"));
  EXPECT_FALSE(IsPlainlyNfc("e\u0301"));
}

TEST(NfcTest, AlignsTextAndForm) {
  const std::vector<NfcPiece> pieces = AlignNfc("ab e\u0301 \u5b57");
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_EQ(pieces[0].text_bytes, 3u);
  EXPECT_TRUE(pieces[0].unchanged);
  EXPECT_EQ(pieces[1].text_bytes, 3u);
  EXPECT_EQ(pieces[1].nfc_bytes, 2u);
  EXPECT_FALSE(pieces[1].unchanged);
  EXPECT_EQ(pieces[2].text_bytes, 4u);
  EXPECT_TRUE(pieces[2].unchanged);
  const std::vector<NfcPiece> hangul = AlignNfc("\u1112\u1161\u11ab\u1112\u1161");
  ASSERT_EQ(hangul.size(), 2u);
  EXPECT_EQ(hangul[0].text_bytes, 9u);
}

TEST(NfcTest, PiecesGiveTheFormOfTheWhole) {
  const char* const parts[] = {"a",      "e",      "é",      " ",      "\u0301", "\u0316",
                               "\u1112", "\u1161", "\u11ab", "\u212b", "\u09c7", "\u09be",
                               "\u0958", "字",     "\xff",   "\xcc"};
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int i = 0; i < 12; ++i) text += parts[random() % std::size(parts)];
    std::string nfc;
    size_t at = 0;
    for (const NfcPiece& piece : AlignNfc(text)) {
      const std::string part = text.substr(at, piece.text_bytes);
      const std::string form = ToNfc(text).substr(nfc.size(), piece.nfc_bytes);
      EXPECT_EQ(form == part, piece.unchanged);
      nfc += form;
      at += piece.text_bytes;
    }
    ASSERT_EQ(at, text.size());
    ASSERT_EQ(nfc, ToNfc(text));
  }
}

}  // namespace
}  // namespace phalanx
