#include "coordinator/text/tokenizer/unicode.h"

#include <string>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

TEST(FirstCharTest, TellsClassAndLength) {
  struct Case {
    std::string text;
    CharClass char_class;
    size_t bytes;
  };
  const Case cases[] = {
      {"a", CharClass::kLower, 1},          {"é", CharClass::kLower, 2},
      {"字x", CharClass::kCaseless, 3},     {"ʰ", CharClass::kCaseless, 2},
      {"7", CharClass::kNumber, 1},         {"²", CharClass::kNumber, 2},
      {"Ⅷ", CharClass::kNumber, 3},         {" ", CharClass::kSpace, 1},
      {"\n", CharClass::kSpace, 1},         {"\u0085", CharClass::kSpace, 2},
      {"\u00a0", CharClass::kSpace, 2},     {"\u3000", CharClass::kSpace, 3},
      {"\u200b", CharClass::kOther, 3},     {"\u0301", CharClass::kMark, 2},
      {"😀", CharClass::kOther, 4},          {"!", CharClass::kOther, 1},
      {"\ufeff", CharClass::kOther, 3},     {std::string(1, '\0'), CharClass::kOther, 1},
      {"\xff", CharClass::kOther, 1},       {"\xe4\xbd", CharClass::kOther, 1},
      {"\U0010ffff", CharClass::kOther, 4}, {"Z", CharClass::kUpper, 1},
      {"ǅ", CharClass::kUpper, 2},          {"\U00010d4a", CharClass::kCaseless, 4},
      {"\ua7cb", CharClass::kUpper, 3},     {"\ua7ce", CharClass::kOther, 3},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(FirstChar(c.text).char_class, c.char_class) << c.text;
    EXPECT_EQ(FirstChar(c.text).bytes, c.bytes) << c.text;
  }
}

// The maximal parts are those that Python's bytes.decode("utf-8", errors="replace") replaces.
TEST(FirstUtf8Test, CutsIllFormedTextAtMaximalParts) {
  struct Case {
    std::string text;
    size_t bytes;
    bool incomplete;
  };
  const Case cases[] = {
      {"\x80x", 1, false},         {"\xc3", 1, true},       {"\xc3(", 1, false},
      {"\xe4\xbd", 2, true},       {"\xe4\xbd(", 2, false}, {"\xe0\x80", 1, false},
      {"\xed\xa0\x80", 1, false},  {"\xf0\x9f", 2, true},   {"\xf0\x9f\x98", 3, true},
      {"\xf0\x9f\x98x", 3, false}, {"\xf4\x90", 1, false},  {"\xff\xff", 1, false},
  };
  for (const Case& c : cases) {
    const Utf8Prefix prefix = FirstUtf8(c.text);
    EXPECT_FALSE(prefix.valid) << c.text;
    EXPECT_EQ(prefix.bytes, c.bytes) << c.text;
    EXPECT_EQ(prefix.incomplete, c.incomplete) << c.text;
  }
}

}  // namespace
}  // namespace phalanx
