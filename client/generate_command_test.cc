#include <signal.h>

#include <fstream>
#include <string>
#include <thread>

#include "base/options.h"
#include "client/exit_code.h"
#include "client/testing/commands_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace phalanx {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

TEST_F(CommandsTest, GenerateStreamsUtf8AndEndsTheLine) {
  server_.AddAnswer(WholeAnswer({"Bonjour", "", " é", "👍"}));
  line_.text = "Hi";
  line_.system = "Be kind.";
  EXPECT_EQ(Run(Command::kGenerate), kExitOk);
  EXPECT_EQ(pipes_.Output(), "Bonjour é👍\n");
  EXPECT_THAT(pipes_.Errors(), IsEmpty());
  const v1::Chat chat = server_.requests().at(0).chat();
  ASSERT_THAT(chat.messages(), SizeIs(2));
  EXPECT_EQ(chat.messages(0).content(), "Be kind.");
  EXPECT_EQ(chat.messages(1).role(), "user");
  EXPECT_EQ(chat.messages(1).content(), "Hi");
}

TEST_F(CommandsTest, GenerateSendsTheToolsOfAFile) {
  server_.AddAnswer(WholeAnswer({"x"}));
  line_.text = "Hi";
  line_.tools = testing::TempDir() + "/tools.json";
  std::ofstream(*line_.tools) << R"([{"type": "function", "function": {"name": "now"}}])";
  EXPECT_EQ(Run(Command::kGenerate), kExitOk);
  const v1::Chat chat = server_.requests().at(0).chat();
  ASSERT_THAT(chat.tools(), SizeIs(1));
  EXPECT_EQ(chat.tools(0).name(), "now");
}

// An answer with the text "Let me see. ", a call in two pieces and one that is not valid.
FakeAnswer AnswerWithCalls() {
  FakeAnswer answer = WholeAnswer({"Let me see.", "", ""});
  v1::ToolCallDelta& first = *answer.events[2].mutable_delta()->add_tool_calls();
  first.set_id("call_1");
  first.set_name("weather");
  first.set_arguments("{\"city\": ");
  v1::ToolCallDelta& more = *answer.events[3].mutable_delta()->add_tool_calls();
  more.set_arguments("\"Oslo\"}");
  more.mutable_end()->set_valid(true);
  v1::ToolCallDelta& second = *answer.events[3].mutable_delta()->add_tool_calls();
  second.set_index(1);
  second.set_id("call_2");
  second.set_name("now");
  second.set_arguments("{}");
  second.mutable_end()->set_valid(false);
  second.mutable_end()->set_problem("zone is missing");
  return answer;
}

TEST_F(CommandsTest, ToolCallsAreLinesOfTheirOwn) {
  server_.AddAnswer(AnswerWithCalls());
  line_.text = "Hi";
  line_.parse_tool_calls = true;
  line_.tool_choice = "weather";
  EXPECT_EQ(Run(Command::kGenerate), kExitOk);
  EXPECT_EQ(pipes_.Output(),
            "Let me see.\nweather({\"city\": \"Oslo\"})\nnow({})  # not valid: zone is missing\n");
  EXPECT_TRUE(server_.requests().at(0).parse_tool_calls());
  EXPECT_EQ(server_.requests().at(0).tool_choice().name(), "weather");
}

TEST_F(CommandsTest, ToolCallsAreInTheJsonOfADelta) {
  server_.AddAnswer(AnswerWithCalls());
  line_.text = "Hi";
  line_.json = true;
  EXPECT_EQ(Run(Command::kGenerate), kExitOk);
  const std::string output = pipes_.Output();
  EXPECT_THAT(output, HasSubstr(R"("tool_calls":[{"index":0,"id":"call_1","name":"weather",)"));
  EXPECT_THAT(output, HasSubstr(R"({"index":0,"arguments":"\"Oslo\"}","valid":true})"));
  EXPECT_THAT(output, HasSubstr(R"("valid":false,"problem":"zone is missing"})"));
}

TEST_F(CommandsTest, ChatAsksForTheResultsOfCallsAndGoesOn) {
  server_.AddAnswer(AnswerWithCalls());
  server_.AddAnswer(WholeAnswer({"Rain."}));
  line_.tools = testing::TempDir() + "/chat_tools.json";
  std::ofstream(*line_.tools) << R"([{"type": "function", "function": {"name": "weather"}}])";
  line_.parse_tool_calls = true;
  pipes_.Type("Weather?\nwet\nnoon\n");
  pipes_.EndInput();
  EXPECT_EQ(Run(Command::kChat), kExitOk);
  EXPECT_THAT(pipes_.Output(), HasSubstr("Rain.\n"));
  ASSERT_THAT(server_.requests(), SizeIs(2));
  const v1::Chat chat = server_.requests()[1].chat();
  EXPECT_EQ(chat.tools(0).name(), "weather");
  ASSERT_THAT(chat.messages(), SizeIs(4));
  EXPECT_EQ(chat.messages(1).content(), "Let me see.");
  ASSERT_THAT(chat.messages(1).tool_calls(), SizeIs(2));
  EXPECT_EQ(chat.messages(1).tool_calls(0).arguments(), "{\"city\": \"Oslo\"}");
  EXPECT_EQ(chat.messages(2).role(), "tool");
  EXPECT_EQ(chat.messages(2).content(), "wet");
  EXPECT_EQ(chat.messages(2).tool_call_id(), "call_1");
  EXPECT_EQ(chat.messages(3).content(), "noon");
}

TEST_F(CommandsTest, AToolsFileThatIsNotThereIsNamed) {
  line_.text = "Hi";
  line_.tools = testing::TempDir() + "/none.json";
  EXPECT_EQ(Run(Command::kGenerate), kExitInvalidRequest);
  // Models have names too, but the hint about them would lead astray.
  EXPECT_THAT(pipes_.Errors(),
              AllOf(HasSubstr("none.json: cannot be read: No such file"), Not(HasSubstr("hint"))));
}

TEST_F(CommandsTest, AToolsFileThatIsWrongIsNamed) {
  line_.text = "Hi";
  line_.tools = testing::TempDir() + "/bad.json";
  std::ofstream(*line_.tools) << "[{}]";
  line_.chat = true;
  EXPECT_NE(Run(Command::kTokenize), kExitOk);
  EXPECT_THAT(pipes_.Errors(), HasSubstr("bad.json[0].function: must be there"));
}

TEST_F(CommandsTest, GenerateSendsAConstraintFromAFileOrAsText) {
  for (int i = 0; i < 5; ++i) server_.AddAnswer(WholeAnswer({"x"}));
  line_.text = "Hi";
  line_.json_schema = "  {\"type\": \"null\"}";
  EXPECT_EQ(Run(Command::kGenerate), kExitOk);
  EXPECT_EQ(server_.requests().at(0).constraint().json_schema(), "  {\"type\": \"null\"}");
  line_.json_schema = testing::TempDir() + "/schema.json";
  std::ofstream(*line_.json_schema) << "{}";
  EXPECT_EQ(Run(Command::kGenerate), kExitOk);
  EXPECT_EQ(server_.requests().at(1).constraint().json_schema(), "{}");
  line_.json_schema.reset();
  line_.grammar = "start: /a/";
  EXPECT_EQ(Run(Command::kGenerate), kExitOk);
  EXPECT_EQ(server_.requests().at(2).constraint().lark(), "start: /a/");
  line_.grammar.reset();
  line_.choices = {"yes", "no"};
  EXPECT_EQ(Run(Command::kGenerate), kExitOk);
  EXPECT_THAT(server_.requests().at(3).constraint().choices().values(),
              ::testing::ElementsAre("yes", "no"));
  line_.choices.clear();
  EXPECT_EQ(Run(Command::kGenerate), kExitOk);
  EXPECT_FALSE(server_.requests().at(4).has_constraint());
}

TEST_F(CommandsTest, AGrammarFileThatIsNotThereIsNamed) {
  line_.text = "Hi";
  line_.grammar = testing::TempDir() + "/none.lark";
  EXPECT_EQ(Run(Command::kGenerate), kExitInvalidRequest);
  EXPECT_THAT(pipes_.Errors(), HasSubstr("none.lark: cannot be read: No such file"));
}

TEST_F(CommandsTest, GenerateShowsADeltaBeforeTheNextOneComes) {
  AddEndlessAnswer("first");
  line_.text = "Hi";
  std::thread user([this] {
    EXPECT_EQ(pipes_.WaitForOutput("first"), "first");
    pipes_.interrupt().Raise(SIGINT);
  });
  EXPECT_EQ(Run(Command::kGenerate), kExitInterrupted);
  user.join();
  server_.WaitForCancelled(1);
  EXPECT_EQ(pipes_.Output(), "\n");
}

TEST_F(CommandsTest, GenerateReadsRawTextFromInput) {
  server_.AddAnswer(WholeAnswer({"x\n"}));
  line_.raw = true;
  pipes_.Type("Once\nupon\n\n");
  pipes_.EndInput();
  EXPECT_EQ(Run(Command::kGenerate), kExitOk);
  EXPECT_EQ(server_.requests().at(0).text(), "Once\nupon\n");
  EXPECT_EQ(pipes_.Output(), "x\n");
}

TEST_F(CommandsTest, GenerateJsonIsOneEventPerLine) {
  server_.AddAnswer(WholeAnswer({"a\n", "b"}));
  line_.text = "Hi";
  line_.json = true;
  EXPECT_EQ(Run(Command::kGenerate), kExitOk);
  std::istringstream lines(pipes_.Output());
  std::vector<std::string> events;
  for (std::string text; std::getline(lines, text);) {
    events.push_back(nlohmann::json::parse(text)["event"]);
  }
  EXPECT_THAT(events, ::testing::ElementsAre("started", "delta", "delta", "finished"));
}

TEST_F(CommandsTest, GenerateJsonTellsAFailureAsItsLastEvent) {
  FakeAnswer answer = WholeAnswer({"a"});
  answer.events.pop_back();
  answer.status = absl::UnavailableError("worker lost");
  server_.AddAnswer(answer);
  line_.text = "Hi";
  line_.json = true;
  EXPECT_EQ(Run(Command::kGenerate), kExitUnavailable);
  EXPECT_THAT(pipes_.Output(),
              HasSubstr(R"({"event":"error","code":"UNAVAILABLE","message":"worker lost"})"));
  EXPECT_THAT(pipes_.Errors(), HasSubstr("phalanx: UNAVAILABLE: worker lost\n"));
}

TEST_F(CommandsTest, GenerateStatsGoToStandardError) {
  server_.AddAnswer(WholeAnswer({"a", "b"}));
  line_.text = "Hi";
  line_.stats = true;
  EXPECT_EQ(Run(Command::kGenerate), kExitOk);
  EXPECT_THAT(pipes_.Errors(), HasSubstr("7 prompt tokens, 2 generated, first after "));
}

TEST_F(CommandsTest, ReasoningGoesToStandardErrorOrNowhere) {
  FakeAnswer answer = WholeAnswer({"", "", "Yes"});
  answer.events[1].mutable_delta()->set_reasoning_text("h");
  answer.events[2].mutable_delta()->set_reasoning_text("m");
  server_.AddAnswer(answer);
  line_.text = "Hi";
  EXPECT_EQ(Run(Command::kGenerate), kExitOk);
  server_.AddAnswer(answer);
  line_.reasoning = ReasoningMode::kHide;
  EXPECT_EQ(Run(Command::kGenerate), kExitOk);
  EXPECT_EQ(pipes_.Output(), "Yes\nYes\n");
  EXPECT_EQ(pipes_.Errors(), "hm\n");
}

TEST_F(CommandsTest, GenerateFailsWithTheCodeOfTheStatus) {
  line_.text = "Hi";
  server_.AddAnswer({{}, absl::InvalidArgumentError("top_p: 2"), false});
  EXPECT_EQ(Run(Command::kGenerate), kExitInvalidRequest);
  server_.AddAnswer({{}, absl::ResourceExhaustedError("full"), false});
  EXPECT_EQ(Run(Command::kGenerate), kExitResourceExhausted);
  server_.AddAnswer({{}, absl::OkStatus(), /*hang=*/true});
  line_.timeout = absl::Milliseconds(50);
  EXPECT_EQ(Run(Command::kGenerate), kExitDeadline);
  EXPECT_THAT(pipes_.Errors(), HasSubstr("phalanx: INVALID_ARGUMENT: top_p: 2\n"));
}

TEST_F(CommandsTest, GenerateRefusesInputThatIsNotUtf8) {
  line_.text = "ab\xff";
  EXPECT_EQ(Run(Command::kGenerate), kExitInvalidRequest);
  EXPECT_THAT(pipes_.Errors(), HasSubstr("prompt: byte 2 is not UTF-8"));
}

TEST_F(CommandsTest, GenerateStopsTheRequestWhenNobodyReadsTheOutput) {
  AddEndlessAnswer("a");
  line_.text = "Hi";
  pipes_.CloseOutputReader();
  EXPECT_EQ(Run(Command::kGenerate), kExitBrokenPipe);
  server_.WaitForCancelled(1);
  EXPECT_THAT(pipes_.Errors(), IsEmpty());
}

}  // namespace
}  // namespace phalanx
