#include "coordinator/text/answer/reasoning_model.h"

#include <string>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

TokenizerAssets Tokens(const std::string& spelling, TokenKind kind) {
  TokenizerAssets tokenizer;
  tokenizer.token_bytes = {"a", spelling};
  tokenizer.token_kinds = {TokenKind::kNormal, kind};
  return tokenizer;
}

TokenizerAssets Template(const std::string& source) {
  TokenizerAssets tokenizer;
  tokenizer.chat_template = source;
  return tokenizer;
}

TEST(IsReasoningModelTest, ByItsTemplate) {
  EXPECT_TRUE(IsReasoningModel(Template("{{ '<think>\n' }}"), {"x"}));
  EXPECT_TRUE(IsReasoningModel(Template("{{ content.split('</think>')[-1] }}"), {}));
  EXPECT_FALSE(IsReasoningModel(Template("{{ messages }}"), {"SmolLM2 135M Instruct"}));
  TokenizerAssets named = Template("{{ messages }}");
  named.named_chat_templates["tool_use"] = "<think>";
  EXPECT_TRUE(IsReasoningModel(named, {}));
}

TEST(IsReasoningModelTest, ByItsAddedTokens) {
  EXPECT_TRUE(IsReasoningModel(Tokens("<think>", TokenKind::kUserDefined), {"0e3b1e2d"}));
  EXPECT_TRUE(IsReasoningModel(Tokens("</think>", TokenKind::kControl), {}));
  // A normal token that happens to be spelled like a tag says nothing, nor does another control
  // token.
  EXPECT_FALSE(IsReasoningModel(Tokens("<think>", TokenKind::kNormal), {}));
  EXPECT_FALSE(IsReasoningModel(Tokens("<|think|>", TokenKind::kControl), {}));
}

TEST(IsReasoningModelTest, ByAnyOfItsNamesIfNothingElseTells) {
  const TokenizerAssets plain = Template("{{ messages }}");
  EXPECT_TRUE(IsReasoningModel(plain, {"Phi 4 Mini Reasoning"}));
  EXPECT_TRUE(IsReasoningModel(plain, {"my-model", "", "DeepSeek-R1-Distill-Llama-8B"}));
  EXPECT_FALSE(IsReasoningModel(plain, {"0e3b1e2d02ee478a", ""}));
  EXPECT_FALSE(IsReasoningModel(plain, {}));
}

}  // namespace
}  // namespace phalanx
