// Compares rendered chats byte for byte with those of transformers.
#include "coordinator/text/testing/chat_golden.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

namespace phalanx {
namespace {

using Json = nlohmann::ordered_json;

std::string Sha256(const std::string& text) {
  const std::string path = std::string(std::getenv("TEST_TMPDIR")) + "/text";
  std::ofstream(path, std::ios::binary) << text;
  FILE* const pipe = popen(("sha256sum " + path).c_str(), "r");
  char digest[65] = {};
  if (fread(digest, 1, 64, pipe) != 64) ADD_FAILURE() << "sha256sum failed";
  pclose(pipe);
  return digest;
}

ToolsInput ToolsInputNamed(const std::string& name) {
  if (name == "variable") return ToolsInput::kVariable;
  return name == "system message" ? ToolsInput::kSystemMessage : ToolsInput::kNone;
}

void ExpectResult(const absl::StatusOr<std::string>& text, const Json& expected) {
  if (expected.contains("unused")) return;
  if (expected.contains("rendered")) {
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_EQ(*text, expected["rendered"].get<std::string>());
    return;
  }
  ASSERT_FALSE(text.ok()) << *text;
  EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument) << text.status();
  const std::string message(text.status().message());
  if (expected.value("raised", false)) {
    EXPECT_NE(message.find(expected["error"].get<std::string>()), std::string::npos) << message;
  }
  if (expected.contains("refused")) {
    EXPECT_NE(message.find(expected["refused"].get<std::string>()), std::string::npos) << message;
  }
}

TEST(ChatGoldenTest, TheTemplatesAreThoseOfTheGoldenFile) {
  const Json golden = ReadChatGolden();
  ASSERT_FALSE(golden["templates"].empty());
  for (const Json& entry : golden["templates"]) {
    const auto name = entry["name"].get<std::string>();
    EXPECT_EQ(Sha256(TemplateSource(name)), entry["sha256"].get<std::string>()) << name;
  }
}

TEST(ChatGoldenTest, EveryChatIsRenderedAsByTransformers) {
  const Json golden = ReadChatGolden();
  for (const Json& entry : golden["templates"]) {
    SCOPED_TRACE(entry["name"].get<std::string>());
    const std::unique_ptr<ChatTemplate> chat_template = GoldenTemplate(entry);
    EXPECT_EQ(chat_template->tools_input(),
              ToolsInputNamed(entry["tools_input"].get<std::string>()));
    ASSERT_EQ(entry["results"].size(), 2 * golden["chats"].size());
    for (size_t i = 0; i < golden["chats"].size(); ++i) {
      SCOPED_TRACE(golden["chats"][i].dump());
      const Conversation conversation = GoldenConversation(golden["chats"][i]);
      ExpectResult(chat_template->Render(conversation, true), entry["results"][2 * i]);
      ExpectResult(chat_template->Render(conversation, false), entry["results"][2 * i + 1]);
    }
  }
}

TEST(ChatGoldenTest, HabitsOfJinjaAndPythonAreKept) {
  const Json golden = ReadChatGolden();
  ASSERT_FALSE(golden["jinja"].empty());
  for (const Json& entry : golden["jinja"]) {
    const auto source = entry["template"].get<std::string>();
    SCOPED_TRACE(source);
    const auto compiled = GoldenJinja().Compile(source);
    const absl::StatusOr<std::string> text =
        compiled.ok() ? (*compiled)->Render(golden["jinja_variables"].dump()) : compiled.status();
    if (entry.value("unsupported", false)) {
      EXPECT_FALSE(text.ok()) << *text;
    } else {
      ExpectResult(text, entry);
    }
  }
}

}  // namespace
}  // namespace phalanx
