#include "coordinator/text/tokenizer/nfc.h"

#include <string>

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

}  // namespace
}  // namespace phalanx
