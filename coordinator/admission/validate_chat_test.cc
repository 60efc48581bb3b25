#include "coordinator/admission/validate_chat.h"

#include <string>
#include <vector>

#include "coordinator/admission/testing/bad_request.h"
#include "coordinator/admission/validate.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::StartsWith;

RequestLimits RoomyLimits() {
  RequestLimits limits = Limits();
  limits.max_prompt_bytes = 1 << 20;
  return limits;
}

absl::Status Validate(const std::string& chat) {
  return ValidateChat(Parse<v1::Chat>(chat), RoomyLimits());
}

constexpr char kUser[] = "messages { role: 'user' content: 'a' } ";

TEST(ValidateChatTest, AcceptsTheEdgesOfEveryRange) {
  const std::string longest_name(64, 'x');
  for (const std::string chat : {
           "messages { role: 'user' content: '' }",
           "messages { role: 'system' content: 'a' } messages { role: 'assistant' content: 'b' } "
           "messages { role: 'tool' content: 'c' tool_call_id: 'call_1' name: 'f' }",
           "messages { role: 'assistant' tool_calls { name: 'f' arguments: '{}' } }",
           "messages { role: 'assistant' content: '' tool_calls { id: 'a' name: 'f' arguments: "
           "'{\"a\": [1, 2.5, null]}' } tool_calls { name: 'g' arguments: ' { } ' } }",
           "messages { role: 'user' content: 'a' } tools { name: 'f' }",
           "messages { role: 'user' content: 'a' } tools { name: 'Az0_-.' description: '' "
           "parameters: '{}' }",
       }) {
    SCOPED_TRACE(chat);
    EXPECT_EQ(Validate(chat), absl::OkStatus());
  }
  EXPECT_EQ(Validate(kUser + ("tools { name: '" + longest_name + "' }")), absl::OkStatus());
}

TEST(ValidateChatTest, NamesTheFieldAndWhatIsWrongWithIt) {
  const std::vector<BadRequest> cases = {
      {"", "chat.messages: must not be empty"},
      {"messages { role: 'robot' content: 'a' }",
       "chat.messages[0].role: \"robot\" is none of \"system\", \"user\""},
      {"messages { role: 'teacher' content: 'a' }",
       "chat.messages[0].role: \"teacher\" is none of"},
      {"messages { content: 'a' }", "chat.messages[0].role: unset is none of"},
      {"messages { role: 'User' content: 'a' }", "chat.messages[0].role: \"User\""},
      {"messages { role: 'user' content: 'a' } messages { role: 'user' }",
       "chat.messages[1].content: must be set"},
      {"messages { role: 'assistant' }", "chat.messages[0].content: must be set"},
      {"messages { role: 'a' } messages {} messages {} messages {}",
       "chat.messages: 4 messages are more than the 3 allowed"},
      {"messages { role: 'user' content: 'a' tool_calls { name: 'f' arguments: '{}' } }",
       "chat.messages[0].tool_calls: only for role \"assistant\""},
      {"messages { role: 'assistant' tool_calls { arguments: '{}' } }",
       "chat.messages[0].tool_calls[0].name: must be set"},
      {"messages { role: 'assistant' tool_calls { name: 'f' } }",
       "chat.messages[0].tool_calls[0].arguments: must be set"},
      {"messages { role: 'assistant' tool_calls { name: 'f' arguments: '{}' } tool_calls { name: "
       "'f' arguments: '[]' } }",
       "chat.messages[0].tool_calls[1].arguments: must be a JSON object"},
      {"messages { role: 'assistant' tool_calls { id: '' name: 'f' arguments: '{}' } }",
       "chat.messages[0].tool_calls[0].id: \"\" is not 1 to 64"},
      {"messages { role: 'user' content: 'a' tool_call_id: 'x' }",
       "chat.messages[0].tool_call_id: only for role \"tool\""},
      {"messages { role: 'system' content: 'a' name: 'x' }",
       "chat.messages[0].name: only for role \"tool\""},
      {"messages { role: 'tool' content: 'a' name: '<|end|>' }",
       "chat.messages[0].name: \"<|end|>\" is not 1 to 64 letters"},
      {"messages { role: 'tool' content: 'a' tool_call_id: 'a b' }",
       "chat.messages[0].tool_call_id: \"a b\" is not 1 to 64 letters"},
      {"messages { role: 'user' content: 'a' } tools { description: 'x' }",
       "chat.tools[0].name: must be set"},
      {"messages { role: 'user' content: 'a' } tools { name: 'f' } tools { name: '\303\244' }",
       "chat.tools[1].name: \"\\xc3\\xa4\" is not 1 to 64 letters"},
      {kUser + ("tools { name: '" + std::string(65, 'x') + "' }"), "chat.tools[0].name: \"xxx"},
      {"messages { role: 'user' content: 'a' } tools { name: 'f' parameters: '' }",
       "chat.tools[0].parameters: is no JSON at byte 0"},
      {"messages { role: 'user' content: 'a' } tools { name: 'f' parameters: '{\"a\": 1,}' }",
       "chat.tools[0].parameters: is no JSON at byte"},
      {"messages { role: 'user' content: 'a' } tools { name: 'f' } tools { name: 'f' } tools { "
       "name: 'f' parameters: '3' }",
       "chat.tools[2].parameters: must be a JSON object"},
  };
  for (const BadRequest& bad : cases) {
    SCOPED_TRACE(bad.request);
    const absl::Status status = Validate(bad.request);
    EXPECT_EQ(status.code(), bad.code);
    EXPECT_THAT(std::string(status.message()), StartsWith(bad.message));
  }
}

TEST(ValidateChatTest, BoundsTheNumberOfToolsAndCalls) {
  auto chat = Parse<v1::Chat>(kUser);
  for (int i = 0; i < 128; ++i) chat.add_tools()->set_name("f");
  EXPECT_EQ(ValidateChat(chat, RoomyLimits()), absl::OkStatus());
  chat.add_tools()->set_name("f");
  EXPECT_THAT(std::string(ValidateChat(chat, RoomyLimits()).message()),
              StartsWith("chat.tools: 129 are more than the 128 allowed"));

  chat = Parse<v1::Chat>("messages { role: 'assistant' content: '' }");
  for (int i = 0; i < 129; ++i) chat.mutable_messages(0)->add_tool_calls();
  EXPECT_THAT(std::string(ValidateChat(chat, RoomyLimits()).message()),
              StartsWith("chat.messages[0].tool_calls: 129 are more than the 128 allowed"));
}

TEST(ValidateChatTest, OnlyAnAssistantsContentIsContinued) {
  const auto check = [](const std::string& messages) {
    return ValidateChat(Parse<v1::Chat>(messages + " continue_last_message: true"), RoomyLimits());
  };
  EXPECT_EQ(check("messages { role: 'assistant' content: '' }"), absl::OkStatus());
  EXPECT_THAT(std::string(check(kUser).message()),
              StartsWith("chat.continue_last_message: the last message is not the assistant's"));
  EXPECT_THAT(
      std::string(check("messages { role: 'assistant' content: 'x' tool_calls { name: 'f' "
                        "arguments: '{}' } }")
                      .message()),
      StartsWith("chat.continue_last_message: the last message must have content and no tool"));
}

TEST(ValidateChatTest, TemplateArgumentsAreAnObjectOfIdentifiers) {
  const auto check = [](const std::string& arguments) {
    auto chat = Parse<v1::Chat>(kUser);
    chat.set_template_arguments(arguments);
    return std::string(ValidateChat(chat, RoomyLimits()).message());
  };
  EXPECT_EQ(check("{}"), "");
  EXPECT_EQ(check(R"({"enable_thinking": false, "_x9": {"not an identifier": [1]}})"), "");
  EXPECT_THAT(check("[]"), StartsWith("chat.template_arguments: must be a JSON object"));
  for (const std::string name : {"", "9x", "a b", "a-b", "é"}) {
    EXPECT_THAT(check("{\"" + name + "\": 1}"), StartsWith("chat.template_arguments: the name"));
  }
  std::string many = "{\"a\": 1";
  for (int i = 0; i < 64; ++i) many += ", \"a" + std::to_string(i) + "\": 1";
  EXPECT_THAT(check(many + "}"),
              StartsWith("chat.template_arguments: 65 are more than the 64 allowed"));
}

TEST(ValidateChatTest, CountsTheBytesOfAllStrings) {
  for (const std::string chat : {
           "messages { role: 'user' content: '123456789012345678901' }",
           "messages { role: 'user' content: '1234567890' } messages { role: 'assistant' "
           "tool_calls { id: '1' name: 'abc' arguments: '{\"a\":1}' } }",
           "messages { role: 'user' content: '123456' } tools { name: 'abc' description: '1234' "
           "parameters: '{\"a\": 1}' }",
           "messages { role: 'user' content: '1234567' } tools { name: 'abc' description: '1234' } "
           "tools { name: 'abcd' description: '123' }",
           "messages { role: 'tool' content: '1234567' tool_call_id: '1234567' name: '1234567' }",
           "messages { role: 'user' content: '1234567890123' } template_arguments: '{\"a\": 1}'",
       }) {
    SCOPED_TRACE(chat);
    EXPECT_EQ(std::string(ValidateChat(Parse<v1::Chat>(chat), Limits()).message()),
              "chat: 21 bytes are more than the 20 allowed (the server's --max_prompt_bytes)");
  }
}

TEST(ValidateChatTest, RefusesChatForAModelWithoutTemplate) {
  RequestLimits limits = Limits();
  limits.has_chat_template = false;
  EXPECT_THAT(std::string(ValidateChat(Parse<v1::Chat>(kUser), limits).message()),
              StartsWith("chat: this model has no chat template"));
}

}  // namespace
}  // namespace phalanx
