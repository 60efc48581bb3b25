#include "coordinator/text/answer/tool_call_grammar.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<ToolGrammar> kTools = {{"f", R"({"properties": {"b": {}, "a": {}}})"}, {"g-1"}};

TEST(ToolCallGrammarTest, HermesHasMarksAroundEachCall) {
  EXPECT_EQ(ToolCallGrammar(ToolCallFormat::kHermes, kTools, {}, /*several=*/true),
            R"(start: call ("\n" call)*
call: call_0 | call_1
call_0: "<tool_call>" "\n" "{\"name\": \"f\", \"arguments\": " arguments_0 "}" "\n" "</tool_call>"
arguments_0: %json {"properties":{"b":{},"a":{}},"type":"object"}
call_1: "<tool_call>" "\n" "{\"name\": \"g-1\", \"arguments\": " arguments_1 "}" "\n" "</tool_call>"
arguments_1: %json {"type":"object"}
)");
}

TEST(ToolCallGrammarTest, MarksThatAreTokensAreNamed) {
  const std::string grammar =
      ToolCallGrammar(ToolCallFormat::kHermes, {kTools[0]}, {"<tool_call>", "</tool_call>"}, false);
  EXPECT_THAT(grammar, HasSubstr("start: call\n"));
  EXPECT_THAT(grammar, HasSubstr(R"(call_0: <tool_call> "\n")"));
  EXPECT_THAT(grammar, HasSubstr(R"("\n" </tool_call>)"));
}

TEST(ToolCallGrammarTest, Llama3HasOneCallAndPhi4MiniAList) {
  EXPECT_THAT(ToolCallGrammar(ToolCallFormat::kLlama3, {kTools[1]}, {}, true),
              HasSubstr("start: call\ncall: call_0\n"
                        R"(call_0: "{\"name\": \"g-1\", \"parameters\": " arguments_0 "}")"));
  EXPECT_THAT(ToolCallGrammar(ToolCallFormat::kPhi4Mini, {kTools[1]}, {"<|tool_call|>"}, true),
              HasSubstr(R"(start: <|tool_call|> "[" call (", " call)* "]" "<|/tool_call|>")"));
}

TEST(ToolCallGrammarTest, ArgumentsAreObjectsWhateverTheSchemaSays) {
  EXPECT_THAT(ToolCallGrammar(ToolCallFormat::kLlama3, {{"f", R"({"type": ["object", "null"]})"}},
                              {}, false),
              HasSubstr(R"(%json {"type":"object"})"));
}

TEST(ToolCallGrammarTest, NamedMarksAreTokensWithText) {
  TokenizerAssets assets;
  assets.token_bytes = {"<tool_call>", "</tool_call>", "<|tool_call|>"};
  assets.token_kinds = {TokenKind::kUserDefined, TokenKind::kControl, TokenKind::kUserDefined};
  EXPECT_THAT(FindNamedMarks(assets, ToolCallFormat::kHermes), ElementsAre("<tool_call>"));
}

}  // namespace
}  // namespace phalanx
