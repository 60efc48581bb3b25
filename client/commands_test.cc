#include "client/commands.h"

#include <signal.h>

#include <fstream>
#include <string>
#include <thread>

#include "base/options.h"
#include "client/exit_code.h"
#include "client/testing/fake_server.h"
#include "client/testing/pipe_terminal.h"
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

class CommandsTest : public ::testing::Test {
 protected:
  CommandsTest() { line_.target = server_.target(); }

  int Run(Command command) {
    line_.command = command;
    return RunCommand(line_, pipes_.get());
  }

  // An answer that says `text` and then nothing more until it is cancelled.
  void AddEndlessAnswer(const std::string& text) {
    FakeAnswer answer = WholeAnswer({text});
    answer.events.pop_back();
    answer.hang = true;
    server_.AddAnswer(answer);
  }

  FakeServer server_;
  PipeTerminal pipes_;
  CommandLine line_;
};

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

TEST_F(CommandsTest, TokenizeShowsPlacesIfAsked) {
  line_.text = "hi";
  line_.pieces = true;
  EXPECT_EQ(Run(Command::kTokenize), kExitOk);
  EXPECT_EQ(pipes_.Output(), "     104       0-1  \"h\"\n     105       1-2  \"i\"\n");
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

TEST_F(CommandsTest, ChatSendsTheConversationEachTime) {
  server_.AddAnswer(WholeAnswer({"one"}));
  server_.AddAnswer(WholeAnswer({"two"}));
  line_.system = "s";
  pipes_.Type("first\n\nsecond\n");
  pipes_.EndInput();
  EXPECT_EQ(Run(Command::kChat), kExitOk);
  EXPECT_EQ(pipes_.Output(), "one\ntwo\n");
  const v1::Chat chat = server_.requests().at(1).chat();
  std::string conversation;
  for (const v1::Message& message : chat.messages()) {
    conversation += message.role() + ":" + message.content() + " ";
  }
  EXPECT_EQ(conversation, "system:s user:first assistant:one user:second ");
}

TEST_F(CommandsTest, ChatInterruptStopsOnlyTheAnswer) {
  AddEndlessAnswer("partial");
  server_.AddAnswer(WholeAnswer({"whole"}));
  std::thread user([this] {
    pipes_.Type("first\n");
    pipes_.WaitForOutput("partial");
    pipes_.interrupt().Raise(SIGINT);
    server_.WaitForCancelled(1);
    // Only a chat that is back at its input reads on.
    pipes_.WaitForOutput("\n");
    pipes_.Type("second\n");
    pipes_.WaitForOutput("whole\n");
    pipes_.EndInput();
  });
  EXPECT_EQ(Run(Command::kChat), kExitOk);
  user.join();
  EXPECT_EQ(server_.requests().at(1).chat().messages(1).content(), "partial");
}

TEST_F(CommandsTest, ChatInterruptWhileWaitingForInputLeaves) {
  std::thread user([this] { pipes_.interrupt().Raise(SIGINT); });
  EXPECT_EQ(Run(Command::kChat), kExitInterrupted);
  user.join();
}

TEST_F(CommandsTest, ChatTerminationDuringAnAnswerLeaves) {
  AddEndlessAnswer("partial");
  std::thread user([this] {
    pipes_.Type("first\n");
    pipes_.WaitForOutput("partial");
    pipes_.interrupt().Raise(SIGTERM);
  });
  EXPECT_EQ(Run(Command::kChat), kExitInterrupted);
  user.join();
  server_.WaitForCancelled(1);
}

TEST_F(CommandsTest, ChatInAScriptEndsWithTheFirstFailure) {
  server_.AddAnswer({{}, absl::UnavailableError("no group"), false});
  pipes_.Type("first\nsecond\n");
  EXPECT_EQ(Run(Command::kChat), kExitUnavailable);
  EXPECT_THAT(server_.requests(), SizeIs(1));
}

TEST_F(CommandsTest, ModelsPrintsATableOrJson) {
  v1::Model model;
  model.set_name("m1");
  server_.AddModel(model);
  EXPECT_EQ(Run(Command::kModels), kExitOk);
  line_.json = true;
  EXPECT_EQ(Run(Command::kModels), kExitOk);
  const std::string output = pipes_.Output();
  EXPECT_THAT(output, HasSubstr("MODEL"));
  EXPECT_THAT(output, HasSubstr(R"({"name":"m1",)"));
}

TEST_F(CommandsTest, TokenizeShowsIdsAndPieces) {
  line_.text = "ab";
  EXPECT_EQ(Run(Command::kTokenize), kExitOk);
  line_.ids_only = true;
  EXPECT_EQ(Run(Command::kTokenize), kExitOk);
  line_.ids_only = false;
  line_.json = true;
  line_.chat = true;
  line_.text = "c";
  EXPECT_EQ(Run(Command::kTokenize), kExitOk);
  const std::string output = pipes_.Output();
  EXPECT_THAT(output, HasSubstr("      97  \"a\"\n      98  \"b\"\n97 98\n"));
  EXPECT_THAT(output, HasSubstr(R"("text":"<user>c")"));
}

TEST_F(CommandsTest, TokenizeFailsWithTheServersStatus) {
  server_.FailWith(absl::NotFoundError("model"));
  line_.text = "ab";
  EXPECT_EQ(Run(Command::kTokenize), kExitInvalidRequest);
}

TEST_F(CommandsTest, PerplexityScoresTheTextInWindows) {
  v1::Model model;
  model.set_name("m1");
  model.set_context_tokens(64);
  server_.AddModel(model);
  const std::string path = ::testing::TempDir() + "/text";
  // The fake server makes a token of each byte, with the log-probability -byte.
  std::ofstream(path) << "\x01\x02\x03\x02\x01\x02\x03";
  line_.file = path;
  line_.window = 4;
  line_.stride = 2;
  line_.json = true;
  EXPECT_EQ(Run(Command::kPerplexity), kExitOk) << pipes_.Errors();
  const auto json = nlohmann::json::parse(pipes_.Output());
  EXPECT_EQ(json["model"], "m1");
  EXPECT_EQ(json["tokens"], 6);
  EXPECT_NEAR(json["nats_per_token"].get<double>(), 13.0 / 6, 1e-6);
  const std::vector<v1::ScoreRequest> requests = server_.score_requests();
  ASSERT_THAT(requests, SizeIs(3));
  EXPECT_THAT(requests[1].tokens().ids(), ::testing::ElementsAre(3, 2, 1, 2));
  EXPECT_THAT(requests[2].tokens().ids(), ::testing::ElementsAre(1, 2, 3));
}

TEST_F(CommandsTest, PerplexityNamesWhatIsWrong) {
  v1::Model model;
  model.set_context_tokens(64);
  server_.AddModel(model);
  line_.file = "/nowhere/text";
  EXPECT_EQ(Run(Command::kPerplexity), kExitInvalidRequest);
  line_.file = ::testing::TempDir() + "/short";
  std::ofstream(*line_.file) << "a";
  EXPECT_EQ(Run(Command::kPerplexity), kExitInvalidRequest);
  line_.window = 65;
  EXPECT_EQ(Run(Command::kPerplexity), kExitInvalidRequest);
  line_.window = 8;
  line_.stride = 9;
  EXPECT_EQ(Run(Command::kPerplexity), kExitInvalidRequest);
  const std::string errors = pipes_.Errors();
  EXPECT_THAT(errors, HasSubstr("/nowhere/text: cannot be read: No such file"));
  EXPECT_THAT(errors, HasSubstr("fewer than two tokens"));
  EXPECT_THAT(errors, HasSubstr("window: 65 is not in [2, 64]"));
  EXPECT_THAT(errors, HasSubstr("stride: 9 is not in [1, 8]"));
}

TEST_F(CommandsTest, ScoresThatBreakOffAreAnError) {
  v1::Model model;
  model.set_context_tokens(64);
  server_.AddModel(model);
  server_.SetScoresWhole(false);
  line_.file = "-";
  pipes_.Type("abc");
  pipes_.EndInput();
  EXPECT_EQ(Run(Command::kPerplexity), kExitFailure);
  EXPECT_THAT(pipes_.Errors(), HasSubstr("without a ScoreFinished"));
}

TEST_F(CommandsTest, HealthIsZeroOnlyIfServing) {
  EXPECT_EQ(Run(Command::kHealth), kExitUnavailable);
  line_.model = "m";
  EXPECT_EQ(Run(Command::kHealth), kExitInvalidRequest);
  server_.SetServing("m", true);
  line_.json = true;
  EXPECT_EQ(Run(Command::kHealth), kExitOk);
  EXPECT_EQ(pipes_.Output(),
            "NOT_SERVING\nSERVICE_UNKNOWN\n{\"service\":\"m\",\"status\":\"SERVING\"}\n");
}

TEST_F(CommandsTest, HealthWaitsUntilServingOrTheEndOfItsPatience) {
  line_.wait = absl::Milliseconds(50);
  EXPECT_EQ(Run(Command::kHealth), kExitUnavailable);
  EXPECT_THAT(pipes_.Errors(),
              HasSubstr("not SERVING within 50ms: the server is there, but not ready"));
  line_.wait = absl::Minutes(1);
  std::thread starter([this] { server_.SetServing("", true); });
  EXPECT_EQ(Run(Command::kHealth), kExitOk);
  starter.join();
}

TEST_F(CommandsTest, WithoutAServerTheCodeIsUnavailable) {
  line_.target = FakeServer().target();
  EXPECT_EQ(Run(Command::kModels), kExitUnavailable);
  EXPECT_EQ(Run(Command::kHealth), kExitUnavailable);
  line_.wait = absl::Milliseconds(50);
  EXPECT_EQ(Run(Command::kHealth), kExitUnavailable);
  EXPECT_THAT(pipes_.Errors(), AllOf(HasSubstr("hint: `phalanx health --wait"),
                                     HasSubstr("not SERVING within 50ms: failed to connect")));
}

v1::Model ModelOf(int vocab_size) {
  v1::Model model;
  model.set_name("m");
  model.set_vocab_size(vocab_size);
  return model;
}

TEST_F(CommandsTest, BenchPrintsATable) {
  server_.AddModel(ModelOf(3));
  for (int i = 0; i < 5; ++i) server_.AddAnswer(WholeAnswer({"a", "b"}));
  line_.load = {.requests = 4, .concurrency = 2, .prompt_tokens = {6, 6}, .output_tokens = {2, 2}};
  EXPECT_EQ(Run(Command::kBench), kExitOk);
  EXPECT_THAT(pipes_.Output(),
              AllOf(HasSubstr("m at "), HasSubstr("4 completed, 0 failed"), HasSubstr("p99")));
  // On no terminal there is no line that is written over.
  EXPECT_THAT(pipes_.Errors(), IsEmpty());
  const auto requests = server_.requests();
  ASSERT_THAT(requests, SizeIs(5));
  EXPECT_THAT(requests[0].tokens().ids(), SizeIs(6));
  for (const int32_t id : requests[0].tokens().ids()) EXPECT_LT(id, 3);
}

TEST_F(CommandsTest, BenchWritesJsonInPlaceOfTheTable) {
  server_.AddModel(ModelOf(3));
  for (int i = 0; i < 2; ++i) server_.AddAnswer(WholeAnswer({"a", "b"}));
  line_.load = {.requests = 1, .concurrency = 1};
  line_.json_path = "-";
  EXPECT_EQ(Run(Command::kBench), kExitOk);
  EXPECT_EQ(nlohmann::json::parse(pipes_.Output())["completed"], 1);
}

TEST_F(CommandsTest, BenchWithAFailureSaysHowMany) {
  server_.AddModel(ModelOf(3));
  server_.AddAnswer(WholeAnswer({"a"}));
  server_.AddAnswer({.events = {}, .status = absl::ResourceExhaustedError("full")});
  server_.AddAnswer(WholeAnswer({"a"}));
  line_.load = {.requests = 2, .concurrency = 1};
  EXPECT_EQ(Run(Command::kBench), kExitResourceExhausted);
  EXPECT_THAT(pipes_.Output(), HasSubstr("1 completed, 1 failed\n  1 RESOURCE_EXHAUSTED: full"));
  EXPECT_THAT(pipes_.Errors(), HasSubstr("1 of 2 requests failed; the first: full"));
}

TEST_F(CommandsTest, BenchMeasuresNothingIfItsFirstRequestFails) {
  server_.AddModel(ModelOf(3));
  server_.AddAnswer({.events = {}, .status = absl::InvalidArgumentError("tokens: too long")});
  line_.load = {.requests = 2, .concurrency = 1};
  EXPECT_EQ(Run(Command::kBench), kExitInvalidRequest);
  EXPECT_THAT(server_.requests(), SizeIs(1));
}

TEST_F(CommandsTest, InterruptedBenchPrintsWhatThereIs) {
  server_.AddModel(ModelOf(3));
  for (int i = 0; i < 2; ++i) server_.AddAnswer(WholeAnswer({"a"}));
  AddEndlessAnswer("b");
  line_.load = {.requests = 9, .concurrency = 1};
  std::thread user([&] {
    // The warm-up, one that completes, and the one that does not.
    while (server_.requests().size() < 3) std::this_thread::yield();
    pipes_.interrupt().Raise(SIGINT);
  });
  EXPECT_EQ(Run(Command::kBench), kExitInterrupted);
  user.join();
  EXPECT_THAT(pipes_.Output(), HasSubstr("1 completed, 0 failed, interrupted with 1 running"));
}

}  // namespace
}  // namespace phalanx
