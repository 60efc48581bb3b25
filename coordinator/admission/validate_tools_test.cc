#include "coordinator/admission/validate_tools.h"

#include "coordinator/admission/testing/bad_request.h"
#include "coordinator/admission/validate.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;

constexpr char kChat[] = "chat { messages { role: 'user' content: 'a' } tools { name: 'f' } } ";

absl::Status Validate(const std::string& fields, const std::string& input = kChat,
                      bool has_format = true) {
  RequestLimits limits = Limits();
  limits.has_tool_call_format = has_format;
  const absl::Status status = ValidateGenerate(Parse<v1::GenerateRequest>(input + fields), limits);
  EXPECT_EQ(status.ok(), !KindOfRefusal(status).has_value()) << "would not be counted";
  return status;
}

TEST(ValidateToolsTest, TakesWhatThereIs) {
  for (const std::string fields :
       {"parse_tool_calls: true", "parse_tool_calls: false", "tool_choice { mode: MODE_AUTO }",
        "tool_choice { mode: MODE_NONE } parse_tool_calls: true", "tool_choice { name: 'f' }",
        "tool_choice { mode: MODE_REQUIRED } parse_tool_calls: true"}) {
    EXPECT_EQ(Validate(fields), absl::OkStatus()) << fields;
  }
  EXPECT_EQ(Validate("tool_choice { mode: MODE_NONE }", "text: 'a' "), absl::OkStatus());
  EXPECT_EQ(Validate("parse_tool_calls: false", "text: 'a' ", false), absl::OkStatus());
}

TEST(ValidateToolsTest, ParsingNeedsToolsAndAFormat) {
  EXPECT_EQ(Validate("parse_tool_calls: true", "text: 'a' ").message(),
            "parse_tool_calls: needs chat.tools");
  EXPECT_EQ(Validate("parse_tool_calls: true", "chat { messages { role: 'user' content: 'a' } } ")
                .message(),
            "parse_tool_calls: needs chat.tools");
  EXPECT_THAT(std::string(Validate("parse_tool_calls: true", kChat, false).message()),
              HasSubstr("parse_tool_calls: how this model writes tool calls is not known"));
}

TEST(ValidateToolsTest, ChoicesThatCannotBeKeptAreRefused) {
  const std::pair<std::string, std::string> cases[] = {
      {"tool_choice {}", "tool_choice: one of mode and name must be set"},
      {"tool_choice { mode: MODE_UNSPECIFIED }", "tool_choice.mode: 0 is none of"},
      {"tool_choice { mode: 9 }", "tool_choice.mode: 9 is none of"},
      {"tool_choice { name: 'g' }", "tool_choice.name: \"g\" is none of chat.tools"},
      {"tool_choice { name: 'f' } constraint { json_object: true }",
       "tool_choice: makes the answer a call"},
      {"tool_choice { mode: MODE_REQUIRED } ignore_eos: true",
       "tool_choice: makes the answer a call"}};
  for (const auto& [fields, message] : cases) {
    EXPECT_THAT(std::string(Validate(fields).message()), ::testing::StartsWith(message)) << fields;
  }
  EXPECT_EQ(Validate("tool_choice { mode: MODE_REQUIRED }", "text: 'a' ").message(),
            "tool_choice: chat.tools must have one to be called");
  EXPECT_THAT(std::string(Validate("tool_choice { name: 'f' }", kChat, false).message()),
              HasSubstr("tool_choice: how this model writes tool calls is not known"));
}

}  // namespace
}  // namespace phalanx
