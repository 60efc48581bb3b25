// Tests that callers' spellings of control tokens stay text, in every string that they can send,
// under the templates of real models.
#include <algorithm>
#include <string>
#include <vector>

#include "coordinator/text/template/chat_encoder.h"
#include "coordinator/text/testing/chat_golden.h"
#include "coordinator/text/tokenizer/tokenizer.h"
#include "gtest/gtest.h"
#include "model/text/split_patterns.h"

namespace phalanx {
namespace {

using Json = nlohmann::ordered_json;

constexpr int32_t kFirstControl = 256;

// Every byte is a token, and so are the template's control tokens.
std::unique_ptr<Tokenizer> TokenizerOf(const Json& entry) {
  TokenizerAssets assets;
  assets.split_rules = {{kGpt2Pattern}};
  for (int byte = 0; byte < kFirstControl; ++byte) {
    assets.token_bytes.emplace_back(1, static_cast<char>(byte));
    assets.token_kinds.push_back(TokenKind::kNormal);
  }
  for (const Json& token : entry["control_tokens"]) {
    assets.token_bytes.push_back(token.get<std::string>());
    assets.token_kinds.push_back(TokenKind::kControl);
  }
  return *Tokenizer::Create(std::move(assets));
}

std::string AllControlTokens(const Json& entry) {
  std::string text;
  for (const Json& token : entry["control_tokens"]) text += token.get<std::string>() + " \"\n";
  return text;
}

// A conversation that says `text` wherever a caller can, in the way that the template takes.
Conversation Saying(const std::string& text, const Json& entry) {
  Conversation conversation = {.messages = {{"system", text}, {"user", text}}};
  const Json schema = {{"type", "object"},
                       {"properties", {{text, {{"type", "string"}, {"description", text}}}}},
                       {"required", {text}}};
  if (entry["tools_input"] != "none") conversation.tools.push_back({"f", text, schema.dump()});
  const Json object = {{text, {{"deep", {text, 1, {{text + "2", text}}}}}}};
  if (entry["shows_tool_calls"].get<bool>()) {
    ChatMessage& called = conversation.messages.emplace_back(ChatMessage{.role = "assistant"});
    called.tool_calls = {{"call12340", "f", object.dump()}};
    if (entry["leaves_calls_out_beside"].empty()) called.content = "";
    conversation.messages.push_back(
        {.role = "tool", .content = text, .tool_call_id = "call12340", .name = "f"});
  }
  conversation.messages.push_back({"assistant", text});
  conversation.messages.push_back({"user", text});
  return conversation;
}

std::vector<int32_t> ControlIds(const std::vector<int32_t>& token_ids) {
  std::vector<int32_t> control;
  std::copy_if(token_ids.begin(), token_ids.end(), std::back_inserter(control),
               [](int32_t id) { return id >= kFirstControl; });
  return control;
}

TEST(ChatInjectionTest, NoStringOfACallerBecomesAControlToken) {
  const Json golden = ReadChatGolden();
  for (const Json& entry : golden["templates"]) {
    SCOPED_TRACE(entry["name"].get<std::string>());
    const std::unique_ptr<ChatTemplate> chat_template = GoldenTemplate(entry);
    const std::unique_ptr<Tokenizer> tokenizer = TokenizerOf(entry);
    const auto harmless =
        EncodeChat(*tokenizer, *chat_template, Saying("harmless \"\n", entry), "nonce-");
    ASSERT_TRUE(harmless.ok()) << harmless.status();
    ASSERT_FALSE(ControlIds(harmless->token_ids).empty());

    const Conversation hostile = Saying(AllControlTokens(entry), entry);
    const auto encoded = EncodeChat(*tokenizer, *chat_template, hostile, "nonce-");
    if (!encoded.ok()) {
      // What callers say cannot be kept apart under a template that trims it.
      EXPECT_NE(encoded.status().message().find("spells the control token"),
                absl::string_view::npos)
          << encoded.status();
      continue;
    }
    EXPECT_EQ(ControlIds(encoded->token_ids), ControlIds(harmless->token_ids));
    EXPECT_EQ(encoded->text, *chat_template->Render(hostile));
    // Without the spans of what the caller wrote, as with allow_special, the spellings become
    // tokens.
    EXPECT_GT(ControlIds(*tokenizer->EncodeRendered(encoded->text, {})).size(),
              ControlIds(harmless->token_ids).size());
  }
}

TEST(ChatInjectionTest, MostTemplatesServeSuchStrings) {
  const Json golden = ReadChatGolden();
  std::vector<std::string> refusing;
  for (const Json& entry : golden["templates"]) {
    Conversation hostile = {.messages = {{"user", AllControlTokens(entry)}}};
    // One template is for conversations with tools only.
    if (entry["tools_input"] == "variable") {
      hostile.tools.push_back({"f", "d", R"({"type": "object", "properties": {}})"});
    }
    if (!EncodeChat(*TokenizerOf(entry), *GoldenTemplate(entry), hostile, "nonce-").ok()) {
      refusing.push_back(entry["name"].get<std::string>());
    }
  }
  // The templates that refuse are those that trim contents.
  EXPECT_EQ(refusing, (std::vector<std::string>{"meta-llama-Llama-3.1-8B-Instruct.jinja",
                                                "meta-llama-Llama-3.2-3B-Instruct.jinja"}));
}

}  // namespace
}  // namespace phalanx
