// Tool calls in the answers of Generate.
#include <string>

#include "coordinator/server/testing/server_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kCall[] = R"(<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>)";

// Room for the answers below.
const FakeEngine::Options kEngine = {.context_tokens = 512};

// `text` byte by byte, then the end for `reason`.
FakeEngine::Script Script(const std::string& text, worker::v1::EngineFinished::Reason reason =
                                                       worker::v1::EngineFinished::REASON_EOS) {
  return [=](const worker::v1::Submit& submit) {
    std::vector<worker::v1::RequestEvent> events = SayScript(text)(submit);
    events.back() = FinishedEvent(submit.request_id(), reason);
    return events;
  };
}

class GenerateToolsTest : public ServerTest {
 protected:
  static CoordinatorServer::Options Options() {
    CoordinatorServer::Options options = DefaultOptions();
    options.limits.context_tokens = 512;
    options.limits.has_tool_call_format = true;
    options.model.tool_call_format = ToolCallFormat::kHermes;
    return options;
  }

  static v1::GenerateRequest Request() {
    v1::GenerateRequest request;
    v1::Message& message = *request.mutable_chat()->add_messages();
    message.set_role("user");
    message.set_content("hi");
    v1::Tool& tool = *request.mutable_chat()->add_tools();
    tool.set_name("f");
    tool.set_parameters(R"({"properties": {"a": {"type": "number"}}})");
    request.set_parse_tool_calls(true);
    return request;
  }

  Answer Ask(const v1::GenerateRequest& request, const FakeEngine::Script& script) {
    FakeEngine engine(kEngine, script);
    Start({&engine}, Options());
    WaitUntilServing();
    const Answer answer = Generate(request);
    EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
    for (const v1::Delta& delta : answer.deltas) {
      for (const v1::ToolCallDelta& call : delta.tool_calls()) {
        calls_.resize(call.index() + 1);
        const std::string so_far = calls_.back().arguments() + call.arguments();
        calls_.back().MergeFrom(call);
        calls_.back().set_arguments(so_far);
      }
    }
    StopServer();
    return answer;
  }

  // The calls of the answer, each whole.
  std::vector<v1::ToolCallDelta> calls_;
};

TEST_F(GenerateToolsTest, CallsAreTakenOutOfTheText) {
  const Answer answer = Ask(Request(), Script(std::string("Let me see. ") + kCall + "\n" + kCall));
  EXPECT_EQ(answer.text, "Let me see. ");
  ASSERT_THAT(calls_, SizeIs(2));
  EXPECT_EQ(calls_[1].name(), "f");
  EXPECT_EQ(calls_[1].arguments(), R"({"a": 1})");
  EXPECT_TRUE(calls_[1].end().valid());
  EXPECT_EQ(answer.finished.reason(), v1::FINISH_REASON_TOOL_CALLS);
}

TEST_F(GenerateToolsTest, WithoutTheOptionCallsAreText) {
  v1::GenerateRequest request = Request();
  request.clear_parse_tool_calls();
  const Answer answer = Ask(request, Script(kCall));
  EXPECT_EQ(answer.text, kCall);
  EXPECT_THAT(calls_, IsEmpty());
  EXPECT_EQ(answer.finished.reason(), v1::FINISH_REASON_STOP);
}

TEST_F(GenerateToolsTest, AnAnswerWithoutCallsEndsAsEver) {
  EXPECT_EQ(Ask(Request(), Script("No.")).finished.reason(), v1::FINISH_REASON_STOP);
}

TEST_F(GenerateToolsTest, AnAnswerThatIsCutOffInACallSaysSo) {
  const std::string cut = std::string(kCall).substr(0, 44);
  const Answer answer = Ask(Request(), Script(cut, worker::v1::EngineFinished::REASON_LENGTH));
  EXPECT_EQ(answer.text, "");
  ASSERT_THAT(calls_, SizeIs(1));
  EXPECT_TRUE(calls_[0].end().has_valid());
  EXPECT_FALSE(calls_[0].end().valid());
  EXPECT_EQ(answer.finished.reason(), v1::FINISH_REASON_LENGTH);
}

TEST_F(GenerateToolsTest, StopStringsAreNotSearchedInCalls) {
  v1::GenerateRequest request = Request();
  request.add_stop("arguments");
  request.add_stop("END");
  const Answer answer = Ask(request, Script(std::string(kCall) + " so END of it"));
  ASSERT_THAT(calls_, SizeIs(1));
  EXPECT_EQ(answer.text, " so ");
  EXPECT_EQ(answer.finished.stop(), "END");
  EXPECT_EQ(answer.finished.reason(), v1::FINISH_REASON_STOP);
}

TEST_F(GenerateToolsTest, ReasoningHasNoCalls) {
  v1::GenerateRequest request = Request();
  request.mutable_reasoning()->set_split(true);
  const Answer answer = Ask(request, Script(std::string("<think>") + kCall + "</think>" + kCall));
  EXPECT_EQ(answer.reasoning_text, kCall);
  EXPECT_THAT(calls_, SizeIs(1));
}

TEST_F(GenerateToolsTest, AModelThatMayCallNoToolIsNotToldOfThem) {
  FakeEngine engine(kEngine, Script(kCall));
  Start({&engine}, Options());
  WaitUntilServing();
  v1::GenerateRequest request = Request();
  request.mutable_tool_choice()->set_mode(v1::ToolChoice::MODE_NONE);
  const Answer answer = Generate(request);
  EXPECT_EQ(answer.text, kCall);
  // Its template writes "tool:" for each tool.
  const worker::v1::Submit submit = engine.WaitForSubmit();
  const std::string prompt(submit.prompt_token_ids().begin(), submit.prompt_token_ids().end());
  EXPECT_EQ(prompt, "user:hi;");
}

TEST_F(GenerateToolsTest, AModelThatMustCallAToolIsConstrained) {
  FakeEngine engine(kEngine, Script(kCall));
  Start({&engine}, Options());
  WaitUntilServing();
  v1::GenerateRequest request = Request();
  request.mutable_tool_choice()->set_name("f");
  EXPECT_EQ(Generate(request).finished.reason(), v1::FINISH_REASON_TOOL_CALLS);
  const worker::v1::Submit submit = engine.WaitForSubmit();
  EXPECT_THAT(submit.constraint().ShortDebugString(), HasSubstr("call_0: "));
}

TEST_F(GenerateToolsTest, ParametersThatAreNoSchemaAreRefused) {
  FakeEngine engine(kEngine, Script(kCall));
  Start({&engine}, Options());
  WaitUntilServing();
  v1::GenerateRequest request = Request();
  request.mutable_chat()->mutable_tools(0)->set_parameters(R"({"type": 1})");
  const Answer answer = Generate(request);
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(answer.status.error_message(), HasSubstr("chat.tools[0].parameters"));
}

}  // namespace
}  // namespace phalanx
