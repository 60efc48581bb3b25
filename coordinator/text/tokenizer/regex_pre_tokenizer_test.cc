#include "coordinator/text/tokenizer/regex_pre_tokenizer.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> Pieces(const std::vector<SplitRule>& rules, absl::string_view text) {
  std::vector<std::string> pieces;
  const auto pre_tokenizer = MakeRegexPreTokenizer(rules);
  EXPECT_TRUE(pre_tokenizer.ok()) << pre_tokenizer.status();
  const absl::Status status =
      (*pre_tokenizer)->Split(text, [&](absl::string_view piece) { pieces.emplace_back(piece); });
  EXPECT_TRUE(status.ok()) << status;
  return pieces;
}

TEST(RegexPreTokenizerTest, WhatIsBetweenMatchesIsAPiece) {
  EXPECT_THAT(Pieces({{"b+"}}, "abbcb"), ElementsAre("a", "bb", "c", "b"));
  EXPECT_THAT(Pieces({{"b+"}}, "xyz"), ElementsAre("xyz"));
  EXPECT_THAT(Pieces({{"b*"}}, "abb"), ElementsAre("a", "bb"));
  EXPECT_THAT(Pieces({{"b+"}}, ""), IsEmpty());
}

TEST(RegexPreTokenizerTest, WhatIsBetweenMatchesIsDroppedIfSoRuled) {
  EXPECT_THAT(Pieces({{"b+", /*keeps_rest=*/false}}, "abbcbd"), ElementsAre("bb", "b"));
}

TEST(RegexPreTokenizerTest, RulesCutThePiecesOfThoseBefore) {
  EXPECT_THAT(Pieces({{"\\p{N}"}, {"x+"}}, "xx1xy2"), ElementsAre("xx", "1", "x", "y", "2"));
}

TEST(RegexPreTokenizerTest, SpaceIsWhiteSpaceOfUnicode) {
  EXPECT_THAT(Pieces({{"\\s+"}}, "a\u0085\u3000\u200bb"),
              ElementsAre("a", "\u0085\u3000", "\u200bb"));
  EXPECT_THAT(Pieces({{"[^\\s]+"}}, "a\u0085b"), ElementsAre("a", "\u0085", "b"));
}

TEST(RegexPreTokenizerTest, EscapesOfCharactersAreTranslated) {
  EXPECT_THAT(Pieces({{"[\\u4e00-\\u9fff]+"}}, "a字字b"), ElementsAre("a", "字字", "b"));
  EXPECT_THAT(Pieces({{"\\{\\}"}}, "a{}"), ElementsAre("a", "{}"));
}

TEST(RegexPreTokenizerTest, BytesThatAreNoTextAreInNoMatch) {
  EXPECT_THAT(Pieces({{"[^b]+"}},
                     "a\xff\xff"
                     "ab"),
              ElementsAre("a", "\xff\xff", "a", "b"));
}

TEST(RegexPreTokenizerTest, RefusesWhatTheEnginesMayReadDifferently) {
  const std::pair<const char*, const char*> cases[] = {
      {"\\w+", "\\w"},  {"\\bx", "\\b"},    {"^x", "\"^\""},        {"x$", "\"$\""},
      {"a.b", "\".\""}, {"[a&&b]", "&&"},   {"[[:alpha:]]", "[:"},  {"(?m:x)", "(?m:"},
      {"(?R)", "(?R)"}, {"(*UCP)x", "(*"},  {"\\p{N}{1,3}+", "}+"}, {"(a)\\1", "\\1"},
      {"[]a]", "[]"},   {"\\Qx\\E", "\\Q"}, {"(?<n>a)", "(?<n"},    {"\\", "\\"},
      {"[^]a]", "[^]"}, {"\\x41", "\\x"},   {"\\u41", "\\u"},
  };
  for (const auto& [pattern, named] : cases) {
    const absl::Status status = MakeRegexPreTokenizer({{pattern}}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << pattern << " " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(named)) << pattern;
  }
}

TEST(RegexPreTokenizerTest, RefusesWrongSyntax) {
  for (const char* const pattern : {"(a", "[a", "a{2,1}", "\\p{Nonsense}", "*"}) {
    EXPECT_EQ(MakeRegexPreTokenizer({{pattern}}).status().code(),
              absl::StatusCode::kInvalidArgument)
        << pattern;
  }
}

TEST(RegexPreTokenizerTest, EndlessBacktrackingIsStopped) {
  const auto pre_tokenizer = MakeRegexPreTokenizer({{"(?:a+)+[bc]"}});
  ASSERT_TRUE(pre_tokenizer.ok());
  const absl::Status status =
      (*pre_tokenizer)->Split(std::string(64, 'a'), [](absl::string_view) {});
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
}

}  // namespace
}  // namespace phalanx
