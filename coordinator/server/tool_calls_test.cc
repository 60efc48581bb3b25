#include "coordinator/server/tool_calls.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::SizeIs;

v1::Chat Chat(const std::string& parameters) {
  v1::Chat chat;
  v1::Tool& weather = *chat.add_tools();
  weather.set_name("weather");
  weather.set_parameters(parameters);
  chat.add_tools()->set_name("now");
  return chat;
}

std::shared_ptr<const ToolSet> Tools(
    const std::string& parameters = R"({"properties": {"unit": {"enum": ["c", "f"]}}})") {
  return ToolSet::Create(ToolCallFormat::kHermes, Chat(parameters)).value();
}

// All that is told of one call.
v1::ToolCallDelta Call(const std::string& name, const std::string& arguments,
                       std::shared_ptr<const ToolSet> tools = Tools()) {
  ToolCallReader reader(std::move(tools));
  google::protobuf::RepeatedPtrField<v1::ToolCallDelta> calls;
  const std::string text =
      R"(<tool_call>{"name": ")" + name + R"(", "arguments": )" + arguments + "}</tool_call>";
  for (const char byte : text) {
    AppendToolCalls(reader.Push(absl::string_view(&byte, 1)).calls, &calls);
  }
  AppendToolCalls(reader.Finish().calls, &calls);
  EXPECT_EQ(reader.calls(), 1);
  EXPECT_THAT(calls, SizeIs(1));
  return calls.empty() ? v1::ToolCallDelta() : calls[0];
}

TEST(ToolCallsTest, ACallHasAnIdANameItsArgumentsAndAnEnd) {
  const v1::ToolCallDelta call = Call("weather", R"({"unit": "c"})");
  EXPECT_EQ(call.index(), 0);
  EXPECT_THAT(call.id(), MatchesRegex("call_[0-9a-f]{16}"));
  EXPECT_EQ(call.name(), "weather");
  EXPECT_EQ(call.arguments(), R"({"unit": "c"})");
  EXPECT_TRUE(call.end().has_valid() && call.end().valid());
  EXPECT_EQ(call.end().problem(), "");
}

TEST(ToolCallsTest, ArgumentsAreCheckedAgainstTheSchema) {
  const v1::ToolCallDelta call = Call("weather", R"({"unit": "kelvin"})");
  EXPECT_TRUE(call.end().has_valid());
  EXPECT_FALSE(call.end().valid());
  EXPECT_THAT(call.end().problem(), HasSubstr("/unit: \"kelvin\""));
  EXPECT_TRUE(Call("now", R"({"any": "thing"})").end().valid()) << "no schema allows every object";
}

TEST(ToolCallsTest, AToolThatIsNotThereIsToldAsSuch) {
  const v1::ToolCallDelta call = Call("other", "{}");
  EXPECT_TRUE(call.end().has_valid());
  EXPECT_FALSE(call.end().valid());
  EXPECT_THAT(call.end().problem(), HasSubstr("no tool of the request"));
}

TEST(ToolCallsTest, ArgumentsThatAreNoJsonAreNotValid) {
  const v1::ToolCallDelta call = Call("now", R"({"a": oops)");
  EXPECT_EQ(call.arguments(), R"({"a": )");
  EXPECT_FALSE(call.end().valid());
  EXPECT_THAT(call.end().problem(), HasSubstr("stop being JSON"));
  EXPECT_FALSE(Call("now", R"({"a": "\ud800"})").end().valid());
}

TEST(ToolCallsTest, WhatCannotBeCheckedSaysSo) {
  const v1::ToolCallDelta call = Call("weather", "{}", Tools(R"({"$ref": "#"})"));
  EXPECT_FALSE(call.end().has_valid());
  EXPECT_THAT(call.end().problem(), HasSubstr("refers to itself"));
}

TEST(ToolCallsTest, ParametersThatAreNoSchemaAreRefused) {
  const absl::Status status =
      ToolSet::Create(ToolCallFormat::kHermes, Chat(R"({"type": "strin"})")).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("chat.tools[0].parameters: is no JSON schema"));
}

TEST(ToolCallsTest, IdsDiffer) {
  ToolCallReader reader(Tools());
  const std::string call = R"(<tool_call>{"name": "now"}</tool_call>)";
  const ToolCallReader::Output output = reader.Push(call + call);
  ASSERT_THAT(output.calls, SizeIs(2));
  EXPECT_NE(output.calls[0].id(), output.calls[1].id());
  EXPECT_EQ(output.calls[1].index(), 1);
}

}  // namespace
}  // namespace phalanx
