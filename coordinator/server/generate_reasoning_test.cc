// Reasoning that is limited, and reasoning that uses up all tokens.
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/server/testing/server_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

class GenerateReasoningTest : public ServerTest {
 protected:
  // A prompt that opens the block, so that the answer begins inside of it.
  static v1::GenerateRequest Limited(int max_tokens) {
    v1::GenerateRequest request = TextRequest("hi <think>\n");
    request.mutable_reasoning()->set_split(true);
    request.mutable_reasoning()->set_max_tokens(max_tokens);
    return request;
  }

  // The answer of a group that would say `text`, and takes the limit into account.
  static std::vector<worker::v1::RequestEvent> Say(const std::string& text,
                                                   const worker::v1::Submit& submit) {
    std::string answer = text;
    if (submit.has_reasoning_limit()) {
      answer = text.substr(0, submit.reasoning_limit().max_tokens());
      for (const int32_t id : submit.reasoning_limit().close_token_ids()) {
        answer.push_back(static_cast<char>(id));
      }
      absl::StrAppend(&answer, "\n\nYes");
    }
    return SayScript(answer)(submit);
  }

  static FakeEngine::Script Saying(const std::string& text) {
    return [text](const worker::v1::Submit& submit) { return Say(text, submit); };
  }
};

TEST_F(GenerateReasoningTest, TheWorkerGroupGetsTheLimitAndTheTag) {
  FakeEngine engine({}, Saying("well, hm"));
  Start({&engine});
  WaitUntilServing();
  const Answer answer = Generate(Limited(4));
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  const worker::v1::ReasoningLimit limit = engine.WaitForSubmit().reasoning_limit();
  EXPECT_EQ(limit.max_tokens(), 4);
  EXPECT_THAT(limit.close_token_ids(), ElementsAreArray(std::string("\n</think>")));
  EXPECT_TRUE(limit.opened_by_prompt());
  EXPECT_EQ(answer.reasoning_text, "well\n");
  EXPECT_EQ(answer.text, "Yes");
  EXPECT_EQ(answer.finished.usage().reasoning_tokens(), 4 + 9);
  EXPECT_TRUE(answer.finished.usage().reasoning_closed());
  EXPECT_EQ(answer.finished.reason(), v1::FINISH_REASON_LENGTH);

  v1::GenerateRequest unopened = Limited(0);
  unopened.set_text("hi");
  Generate(unopened);
  EXPECT_EQ(engine.WaitForSubmit(2).reasoning_limit().max_tokens(), 0);
  EXPECT_FALSE(engine.WaitForSubmit(2).reasoning_limit().opened_by_prompt());
}

TEST_F(GenerateReasoningTest, ZeroTokensCloseTheBlockAtOnce) {
  FakeEngine engine({}, Saying("well, hm"));
  Start({&engine});
  WaitUntilServing();
  const Answer answer = Generate(Limited(0));
  EXPECT_EQ(answer.reasoning_text, "");
  EXPECT_EQ(answer.text, "Yes");
  EXPECT_TRUE(answer.finished.usage().reasoning_closed());
}

TEST_F(GenerateReasoningTest, ReasoningThatEndsByItselfIsNotTakenForClosed) {
  FakeEngine engine({}, SayScript("hm</think>Yes, and so on"));
  Start({&engine});
  WaitUntilServing();
  for (const int max_tokens : {10, 11, 40}) {
    const Answer answer = Generate(Limited(max_tokens));
    EXPECT_EQ(answer.text, "Yes, and so on");
    EXPECT_FALSE(answer.finished.usage().reasoning_closed()) << max_tokens;
  }
  v1::GenerateRequest unlimited = Limited(0);
  unlimited.mutable_reasoning()->clear_max_tokens();
  EXPECT_FALSE(Generate(unlimited).finished.usage().reasoning_closed());
  EXPECT_FALSE(engine.WaitForSubmit(4).has_reasoning_limit());
}

TEST_F(GenerateReasoningTest, ALimitThatMaxNewTokensComesBeforeIsNone) {
  FakeEngine engine({}, Saying("well, hm"));
  Start({&engine});
  WaitUntilServing();
  v1::GenerateRequest request = Limited(8);
  request.set_max_new_tokens(8);
  const Answer answer = Generate(request);
  EXPECT_FALSE(engine.WaitForSubmit().has_reasoning_limit());
  EXPECT_FALSE(answer.finished.usage().reasoning_closed());
  EXPECT_EQ(answer.finished.reason(), v1::FINISH_REASON_REASONING_LENGTH);
}

TEST_F(GenerateReasoningTest, AnAnswerThatNeverBeganIsToldByItsReason) {
  FakeEngine engine({}, SayScript("well </th"));
  Start({&engine});
  WaitUntilServing();
  v1::GenerateRequest request = Limited(60);
  const Answer answer = Generate(request);
  EXPECT_EQ(answer.finished.reason(), v1::FINISH_REASON_REASONING_LENGTH);
  EXPECT_EQ(answer.reasoning_text, "well </th");
  EXPECT_EQ(answer.text, "");
  // The same without a split is an answer of that length.
  request.mutable_reasoning()->Clear();
  EXPECT_EQ(Generate(request).finished.reason(), v1::FINISH_REASON_LENGTH);
}

TEST_F(GenerateReasoningTest, OtherReasonsStay) {
  FakeEngine engine({}, [](const worker::v1::Submit& submit) {
    return std::vector<worker::v1::RequestEvent>{
        TokensEvent(submit.request_id(), {'h', 'm', kFakeEos}),
        FinishedEvent(submit.request_id(), worker::v1::EngineFinished::REASON_EOS)};
  });
  Start({&engine});
  WaitUntilServing();
  EXPECT_EQ(Generate(Limited(60)).finished.reason(), v1::FINISH_REASON_STOP);
}

TEST_F(GenerateReasoningTest, EachChoiceHasItsOwn) {
  // The second one closes its block itself.
  FakeEngine engine({}, [](const worker::v1::Submit& submit) {
    return submit.seed() == 1 ? Say("well, hm", submit) : SayScript("a</think>b")(submit);
  });
  Start({&engine});
  WaitUntilServing();
  v1::GenerateRequest request = Limited(9);
  request.mutable_sampling()->set_seed(1);
  request.set_n(2);
  request.set_max_new_tokens(40);
  OpenCall call(*stub_, request);
  std::vector<bool> closed(2);
  for (int finished = 0; finished < 2;) {
    const v1::GenerateEvent event = call.Next();
    if (!event.has_finished()) continue;
    ++finished;
    closed.at(event.finished().choice()) = event.finished().usage().reasoning_closed();
  }
  EXPECT_TRUE(call.End().ok());
  EXPECT_TRUE(closed[0]);
  EXPECT_FALSE(closed[1]);
}

TEST_F(GenerateReasoningTest, ALimitNeedsReasoningThatIsSplit) {
  FakeEngine engine({}, Saying("well, hm"));
  Start({&engine});
  WaitUntilServing();
  v1::GenerateRequest request = Limited(4);
  request.mutable_reasoning()->clear_split();
  const grpc::Status status = Generate(request).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("reasoning.max_tokens: "));
  StopServer();
  // The default is to split what a model that reasons says.
  CoordinatorServer::Options options = DefaultOptions();
  options.model.reasons = true;
  Start({&engine}, options);
  WaitUntilServing();
  EXPECT_EQ(Generate(request).text, "Yes");
}

}  // namespace
}  // namespace phalanx
