#include "coordinator/text/answer/tool_call_format.h"

#include <fstream>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Optional;

std::optional<ToolCallFormat> FormatOf(const std::string& published) {
  std::ifstream file("external/assets/templates/" + published + ".jinja");
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_FALSE(text.str().empty()) << published;
  return FindToolCallFormat(text.str());
}

TEST(ToolCallFormatTest, PublishedTemplatesTellTheirFormat) {
  EXPECT_THAT(FormatOf("Qwen-Qwen2.5-7B-Instruct"), Optional(ToolCallFormat::kHermes));
  EXPECT_THAT(FormatOf("unsloth-Qwen3-8B"), Optional(ToolCallFormat::kHermes));
  EXPECT_THAT(FormatOf("NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use"),
              Optional(ToolCallFormat::kHermes));
  EXPECT_THAT(FormatOf("meta-llama-Llama-3.1-8B-Instruct"), Optional(ToolCallFormat::kLlama3));
  EXPECT_THAT(FormatOf("meta-llama-Llama-3.2-3B-Instruct"), Optional(ToolCallFormat::kLlama3));
  EXPECT_THAT(FormatOf("microsoft-Phi-4-mini-reasoning"), Optional(ToolCallFormat::kPhi4Mini));
  EXPECT_EQ(FormatOf("Qwen-Qwen2-1.5B-Instruct"), std::nullopt);
  EXPECT_EQ(FormatOf("deepseek-ai-DeepSeek-R1-Distill-Llama-8B"), std::nullopt);
}

TEST(ToolCallFormatTest, OtherFormatsBetweenTheSameMarksAreNotTaken) {
  EXPECT_EQ(FindToolCallFormat("<tool_call>\n<function=f>"), std::nullopt);
  EXPECT_EQ(FindToolCallFormat(""), std::nullopt);
}

TEST(ToolCallFormatTest, MarksThatAreControlTokensAreFound) {
  TokenizerAssets assets;
  assets.token_bytes = {"<|python_tag|>", "<|eom_id|>", "<tool_call>", "<|python_tag|>"};
  assets.token_kinds = {TokenKind::kControl, TokenKind::kControl, TokenKind::kUserDefined,
                        TokenKind::kNormal};
  EXPECT_THAT(FindMarkTokens(assets, ToolCallFormat::kLlama3), ElementsAre(0));
  EXPECT_THAT(FindMarkTokens(assets, ToolCallFormat::kHermes), IsEmpty());
}

}  // namespace
}  // namespace phalanx
