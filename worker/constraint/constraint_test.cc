#include "worker/constraint/constraint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Mask = std::vector<uint32_t>;

// The 256 bytes, then <tool>, then the end.
constexpr int32_t kTool = 256;
constexpr int32_t kEnd = 257;

std::shared_ptr<const ConstraintVocabulary> Bytes() {
  return *ConstraintVocabulary::OfBytes(std::vector<std::string>{"<tool>"});
}

std::unique_ptr<Constraint> Make(ConstraintKind kind, const std::string& text) {
  absl::StatusOr<std::unique_ptr<Constraint>> constraint =
      Constraint::Compile(Bytes(), {kind, text}, {});
  EXPECT_TRUE(constraint.ok()) << text.substr(0, 100) << ": " << constraint.status();
  return constraint.ok() ? *std::move(constraint) : nullptr;
}

std::string Error(ConstraintKind kind, const std::string& text,
                  const ConstraintLimits& limits = {}) {
  const absl::Status status = Constraint::Compile(Bytes(), {kind, text}, limits).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text.substr(0, 100);
  return std::string(status.message());
}

std::vector<int32_t> Allowed(Constraint& constraint) {
  Mask mask(static_cast<size_t>(constraint.vocabulary().mask_words()));
  EXPECT_TRUE(constraint.Mask(absl::MakeSpan(mask)).ok());
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < static_cast<int32_t>(mask.size()) * 32; ++id) {
    if ((mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0) ids.push_back(id);
  }
  return ids;
}

// Whether the masks allow `text`, byte by byte, and then its end.
bool Allows(const Constraint& constraint, const std::string& text) {
  const std::unique_ptr<Constraint> copy = constraint.Copy();
  std::vector<int32_t> tokens(text.size());
  for (size_t i = 0; i < text.size(); ++i) tokens[i] = static_cast<uint8_t>(text[i]);
  tokens.push_back(kEnd);
  for (const int32_t token : tokens) {
    const std::vector<int32_t> allowed = Allowed(*copy);
    if (std::find(allowed.begin(), allowed.end(), token) == allowed.end()) return false;
    if (!copy->Accept(token).ok()) return false;
  }
  return true;
}

TEST(ConstraintTest, FollowsASchema) {
  const std::unique_ptr<Constraint> constraint =
      Make(ConstraintKind::kJsonSchema,
           R"({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"],
               "additionalProperties": false})");
  EXPECT_TRUE(Allows(*constraint, R"({"a": 12})"));
  EXPECT_TRUE(Allows(*constraint, R"({"a":-3})"));
  EXPECT_FALSE(Allows(*constraint, R"({"a": "x"})"));
  EXPECT_FALSE(Allows(*constraint, R"({})"));
  EXPECT_FALSE(Allows(*constraint, R"({"a": 1, "b": 2})"));
  EXPECT_FALSE(Allows(*constraint, R"({"a": 1)"));
}

TEST(ConstraintTest, TrueIsAnyJsonAndFalseIsNone) {
  const std::unique_ptr<Constraint> constraint = Make(ConstraintKind::kJsonSchema, "true");
  EXPECT_TRUE(Allows(*constraint, R"([1, {"a": null}, "x"])"));
  EXPECT_FALSE(Allows(*constraint, "hello"));
  EXPECT_THAT(Error(ConstraintKind::kJsonSchema, "false"), HasSubstr("object or true"));
}

TEST(ConstraintTest, WhiteSpaceOfJsonIsBounded) {
  const std::unique_ptr<Constraint> constraint = Make(ConstraintKind::kJsonSchema, "true");
  EXPECT_TRUE(Allows(*constraint, "[1," + std::string(64, ' ') + "2]"));
  EXPECT_FALSE(Allows(*constraint, "[1," + std::string(65, ' ') + "2]"));
}

TEST(ConstraintTest, ACallerCannotSetTheOptionsOfTheLibrary) {
  const std::unique_ptr<Constraint> constraint =
      Make(ConstraintKind::kJsonSchema, R"({"x-guidance": {"item_separator": ";"}})");
  EXPECT_TRUE(Allows(*constraint, "[1,2]"));
  EXPECT_FALSE(Allows(*constraint, "[1;2]"));
}

TEST(ConstraintTest, ARegexMatchesTheWholeText) {
  const std::unique_ptr<Constraint> constraint = Make(ConstraintKind::kRegex, "[a-c]{2}/x?");
  EXPECT_TRUE(Allows(*constraint, "ab/"));
  EXPECT_TRUE(Allows(*constraint, "ab/x"));
  EXPECT_FALSE(Allows(*constraint, "xab/"));
  EXPECT_FALSE(Allows(*constraint, "abc"));
}

TEST(ConstraintTest, ChoicesAreTakenLiterally) {
  const std::unique_ptr<Constraint> constraint =
      Make(ConstraintKind::kChoices, R"(["yes", "yes, sir", "no.*", "it\n\"is\" /\\ größe"])");
  for (const char* text : {"yes", "yes, sir", "no.*", "it\n\"is\" /\\ größe"}) {
    EXPECT_TRUE(Allows(*constraint, text)) << text;
  }
  for (const char* text : {"", "ye", "no", "nooo", "yesno"}) {
    EXPECT_FALSE(Allows(*constraint, text)) << text;
  }
}

TEST(ConstraintTest, FollowsALarkGrammar) {
  const std::unique_ptr<Constraint> constraint =
      Make(ConstraintKind::kLark, "start: sum\nsum: N \"+\" sum | N\nN: /[0-9]+/");
  EXPECT_TRUE(Allows(*constraint, "1+23+4"));
  EXPECT_FALSE(Allows(*constraint, "1+"));
}

TEST(ConstraintTest, AtTheEndOnlyEndTokensAreAllowed) {
  const std::unique_ptr<Constraint> constraint = Make(ConstraintKind::kChoices, R"(["ab"])");
  EXPECT_THAT(Allowed(*constraint), ElementsAre('a'));
  EXPECT_FALSE(constraint->MayEnd());
  ASSERT_TRUE(constraint->Accept('a').ok());
  EXPECT_FALSE(constraint->finished());
  ASSERT_TRUE(constraint->Accept('b').ok());
  EXPECT_TRUE(constraint->finished());
  EXPECT_TRUE(constraint->MayEnd());
  EXPECT_THAT(Allowed(*constraint), ElementsAre(kEnd));
  ASSERT_TRUE(constraint->Accept(kEnd).ok());
  EXPECT_THAT(Allowed(*constraint), ElementsAre(kEnd));
}

TEST(ConstraintTest, ATextThatMayEndMayAlsoGoOn) {
  const std::unique_ptr<Constraint> constraint = Make(ConstraintKind::kRegex, "a+");
  ASSERT_TRUE(constraint->Accept('a').ok());
  EXPECT_TRUE(constraint->MayEnd());
  EXPECT_FALSE(constraint->finished());
  EXPECT_THAT(Allowed(*constraint), ElementsAre('a', kEnd));
}

TEST(ConstraintTest, ATokenThatMayNotComeFailsForGood) {
  const std::unique_ptr<Constraint> constraint = Make(ConstraintKind::kRegex, "ab");
  EXPECT_EQ(constraint->Accept('x').code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(constraint->Accept('a').code(), absl::StatusCode::kInvalidArgument);
  Mask mask(static_cast<size_t>(constraint->vocabulary().mask_words()));
  EXPECT_FALSE(constraint->Mask(absl::MakeSpan(mask)).ok());
  EXPECT_FALSE(constraint->finished());
}

TEST(ConstraintTest, CopiesGoTheirOwnWays) {
  const std::unique_ptr<Constraint> constraint = Make(ConstraintKind::kRegex, "a[bc]d");
  ASSERT_TRUE(constraint->Accept('a').ok());
  const std::unique_ptr<Constraint> copy = constraint->Copy();
  ASSERT_TRUE(constraint->Accept('b').ok());
  EXPECT_THAT(Allowed(*constraint), ElementsAre('d'));
  EXPECT_THAT(Allowed(*copy), ElementsAre('b', 'c'));
}

TEST(ConstraintTest, TokensAreTakenBack) {
  const std::unique_ptr<Constraint> constraint = Make(ConstraintKind::kRegex, "a[bc]d");
  for (const char c : {'a', 'b', 'd'}) ASSERT_TRUE(constraint->Accept(c).ok());
  EXPECT_TRUE(constraint->finished());
  ASSERT_TRUE(constraint->Rollback(2).ok());
  EXPECT_FALSE(constraint->finished());
  EXPECT_THAT(Allowed(*constraint), ElementsAre('b', 'c'));
}

TEST(ConstraintTest, ANamedTokenComesOnlyWhereAGrammarNamesIt) {
  const std::unique_ptr<Constraint> named = Make(ConstraintKind::kLark, "start: <tool> \"x\"");
  EXPECT_THAT(Allowed(*named), ElementsAre(kTool));
  ASSERT_TRUE(named->Accept(kTool).ok());
  EXPECT_THAT(Allowed(*named), ElementsAre('x'));
  const std::unique_ptr<Constraint> text = Make(ConstraintKind::kLark, "start: \"<tool>x\"");
  EXPECT_THAT(Allowed(*text), ElementsAre('<'));
}

TEST(ConstraintTest, AGrammarCannotAskForAControlTokenByItsNumber) {
  TokenizerAssets assets;
  assets.token_bytes = {"a", "<|control|>", "<|end|>"};
  assets.token_kinds = {TokenKind::kNormal, TokenKind::kControl, TokenKind::kControl};
  assets.eos_token_ids = {2};
  const auto vocabulary = *ConstraintVocabulary::Create(assets, 40);
  EXPECT_EQ(vocabulary->mask_words(), 2);
  EXPECT_FALSE(Constraint::Compile(vocabulary, {ConstraintKind::kLark, "start: <[1]>"}, {}).ok());
  EXPECT_FALSE(
      Constraint::Compile(vocabulary, {ConstraintKind::kLark, "start: <|control|>"}, {}).ok());
  const auto any = Constraint::Compile(vocabulary, {ConstraintKind::kLark, "start: <[0-39]>"}, {});
  ASSERT_TRUE(any.ok()) << any.status();
  EXPECT_THAT(Allowed(**any), ElementsAre(0));
}

TEST(ConstraintTest, AGrammarCannotEndATextByTheNumberOfAnEndToken) {
  const auto vocabulary = Bytes();
  const int32_t end = vocabulary->end_token_ids().front();
  const auto compile = [&](const std::string& text) {
    return Constraint::Compile(vocabulary, {ConstraintKind::kLark, text}, {});
  };
  EXPECT_EQ(compile(absl::StrCat("start: <[", end, "]> \"x\"")).status().code(),
            absl::StatusCode::kInvalidArgument);
  const auto other = compile(absl::StrCat("start: (\"a\" | <[", end, "]>) \"x\""));
  ASSERT_TRUE(other.ok()) << other.status();
  std::vector<uint32_t> mask(static_cast<size_t>(vocabulary->mask_words()));
  ASSERT_TRUE((*other)->Mask(absl::MakeSpan(mask)).ok());
  EXPECT_EQ(mask[static_cast<size_t>(end) / 32] >> (end % 32) & 1, 0u);
  EXPECT_FALSE((*other)->Copy()->Accept(end).ok());
  EXPECT_TRUE((*other)->Accept('a').ok());
}

TEST(ConstraintVocabularyTest, AModelWithoutAnEndIsRefused) {
  TokenizerAssets assets;
  assets.token_bytes = {"a"};
  assets.token_kinds = {TokenKind::kNormal};
  EXPECT_EQ(ConstraintVocabulary::Create(assets, 1).status().code(),
            absl::StatusCode::kFailedPrecondition);
  assets.eos_token_ids = {7};
  EXPECT_EQ(ConstraintVocabulary::Create(assets, 1).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(ConstraintTest, TheReasonIsTold) {
  EXPECT_THAT(Error(ConstraintKind::kJsonSchema, ""), HasSubstr("empty"));
  EXPECT_THAT(Error(ConstraintKind::kJsonSchema, "{"), HasSubstr("no JSON"));
  EXPECT_THAT(Error(ConstraintKind::kJsonSchema, "[]"), HasSubstr("object or true"));
  EXPECT_THAT(Error(ConstraintKind::kJsonSchema, R"({"not": {}})"), HasSubstr("not"));
  EXPECT_THAT(Error(ConstraintKind::kJsonSchema, R"({"type": "strin"})"), HasSubstr("strin"));
  EXPECT_THAT(
      Error(ConstraintKind::kJsonSchema, R"({"minimum": 3, "maximum": 2, "type": "number"})"),
      HasSubstr("minimum"));
  EXPECT_THAT(Error(ConstraintKind::kJsonSchema, R"({"$ref": "#/nowhere"})"), HasSubstr("nowhere"));
  EXPECT_THAT(Error(ConstraintKind::kRegex, "(a"), HasSubstr("unclosed"));
  EXPECT_THAT(Error(ConstraintKind::kChoices, "[]"), HasSubstr("choices"));
  EXPECT_THAT(Error(ConstraintKind::kChoices, R"(["a", ""])"), HasSubstr("empty"));
  EXPECT_THAT(Error(ConstraintKind::kLark, "start: nothing"), HasSubstr("nothing"));
  EXPECT_THAT(Error(ConstraintKind::kRegex, std::string("\xff")), HasSubstr("UTF-8"));
  EXPECT_THAT(Error(ConstraintKind::kRegex, "abc", {.max_text_bytes = 2}),
              HasSubstr("2 are allowed"));
}

TEST(ConstraintTest, AConstraintThatNothingFulfilsIsRefused) {
  EXPECT_THAT(Error(ConstraintKind::kJsonSchema, R"({"$ref": "#"})"), HasSubstr("no text"));
}

TEST(ConstraintTest, ReferencesMayBeDeepButNotTooDeep) {
  const auto chain = [](int length) {
    std::string defs;
    for (int i = 0; i < length; ++i) {
      absl::StrAppend(&defs, R"("d)", i, R"(": {"allOf": [{"$ref": "#/$defs/d)", i + 1,
                      R"("}, {}]},)");
    }
    return absl::StrCat(R"({"$ref": "#/$defs/d0", "$defs": {)", defs, R"("d)", length,
                        R"(": {"type": "null"}}})");
  };
  EXPECT_TRUE(Allows(*Make(ConstraintKind::kJsonSchema, chain(90)), "null"));
  EXPECT_THAT(Error(ConstraintKind::kJsonSchema, chain(1000)), HasSubstr("too deep"));
}

TEST(ConstraintTest, LearntStatesAreShared) {
  const std::unique_ptr<Constraint> constraint = Make(ConstraintKind::kRegex, "[a-z]{1,50}x");
  const uint64_t before = constraint->lexer_size().states;
  const std::unique_ptr<Constraint> copy = constraint->Copy();
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(copy->Accept('b').ok());
    EXPECT_THAT(Allowed(*copy), ::testing::Not(IsEmpty()));
  }
  EXPECT_GT(constraint->lexer_size().states, before);
}

}  // namespace
}  // namespace phalanx
