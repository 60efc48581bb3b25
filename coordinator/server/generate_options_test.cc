// What a request can ask of its answer beyond sampling parameters: what a worker group gets of it,
// and what the client gets back.
#include <string>
#include <utility>
#include <vector>

#include "coordinator/server/testing/server_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using GenerateOptionsTest = ServerTest;
using Events = std::vector<worker::v1::RequestEvent>;

FakeEngine::Script Always(Events events) {
  return [events = std::move(events)](const worker::v1::Submit&) { return events; };
}

TEST_F(GenerateOptionsTest, TheGroupGetsWhatTheRequestAsksFor) {
  FakeEngine engine({}, SayScript("ab"));
  Start({&engine});
  WaitUntilServing();
  v1::GenerateRequest request = TextRequest("hello");
  v1::LogitBias& bias = *request.mutable_sampling()->add_logit_bias();
  bias.set_token_id(65);
  bias.set_bias(-2.5f);
  request.mutable_sampling()->set_repetition_penalty(1.25f);
  request.mutable_sampling()->set_min_p(0.125f);
  request.set_min_new_tokens(2);
  request.add_stop_token_ids(66);
  request.mutable_repetition_limit()->set_times(9);
  const Answer answer = Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.started.sampling().repetition_penalty(), 1.25f);
  const worker::v1::Submit submit = engine.WaitForSubmit();
  ASSERT_EQ(submit.logit_bias_size(), 1);
  EXPECT_EQ(submit.logit_bias(0).token_id(), 65);
  EXPECT_EQ(submit.logit_bias(0).bias(), -2.5f);
  EXPECT_EQ(submit.repetition_penalty(), 1.25f);
  EXPECT_EQ(submit.min_p(), 0.125f);
  EXPECT_EQ(submit.typical_p(), 1.0f);
  EXPECT_EQ(submit.min_new_tokens(), 2);
  EXPECT_THAT(submit.eos_token_ids(), ElementsAre(2, 66));
  EXPECT_EQ(submit.repetition_limit().times(), 9);
  EXPECT_EQ(submit.repetition_limit().min_tokens(), 32);
  EXPECT_FALSE(submit.has_log_probs());
  EXPECT_FALSE(submit.score());
}

TEST_F(GenerateOptionsTest, StopTokensEndAnswersWithoutEosTooAndAreNamed) {
  FakeEngine engine({}, Always({TokensEvent(0, {'a', 'B'}),
                                FinishedEvent(0, worker::v1::EngineFinished::REASON_EOS)}));
  Start({&engine});
  WaitUntilServing();
  v1::GenerateRequest request = TextRequest("hello");
  request.set_ignore_eos(true);
  request.add_stop_token_ids('B');
  const Answer answer = Generate(request);
  EXPECT_THAT(engine.WaitForSubmit().eos_token_ids(), ElementsAre('B'));
  EXPECT_EQ(answer.finished.reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(answer.finished.stop_token_id(), 'B');
  request.clear_stop_token_ids();
  EXPECT_FALSE(Generate(request).finished.has_stop_token_id());
}

TEST_F(GenerateOptionsTest, ARepetitionIsToldAsTheReason) {
  FakeEngine engine({}, Always({TokensEvent(0, {'a', 'a'}),
                                FinishedEvent(0, worker::v1::EngineFinished::REASON_REPETITION)}));
  Start({&engine});
  WaitUntilServing();
  v1::GenerateRequest request = TextRequest("hello");
  request.mutable_repetition_limit();
  EXPECT_EQ(Generate(request).finished.reason(), v1::FINISH_REASON_REPETITION);
}

TEST_F(GenerateOptionsTest, LogProbsComeWithTheTokensAndThoseOfThePromptBefore) {
  worker::v1::RequestEvent tokens = TokensEvent(0, {'a', 'b'});
  for (const float log_prob : {-0.5f, -1.5f}) {
    worker::v1::DrawnLogProb& drawn = *tokens.add_drawn_log_probs();
    drawn.set_log_prob(log_prob);
    drawn.add_top_token_ids('z');
    drawn.add_top_log_probs(-0.25f);
  }
  FakeEngine engine({}, Always({LogProbsEvent(0, {-1.0f, -2.0f}), tokens,
                                FinishedEvent(0, worker::v1::EngineFinished::REASON_LENGTH)}));
  Start({&engine});
  WaitUntilServing();
  v1::GenerateRequest request = TextRequest("abc");
  request.mutable_log_probs()->set_top(1);
  request.mutable_log_probs()->set_prompt(true);
  OpenCall call(*stub_, request);
  EXPECT_TRUE(call.Next().has_started());
  std::vector<float> of_prompt;
  std::vector<float> of_answer;
  for (v1::GenerateEvent event = call.Next(); !event.has_finished(); event = call.Next()) {
    for (const float log_prob : event.prompt_log_probs().log_probs()) of_prompt.push_back(log_prob);
    for (const v1::TokenLogProb& token : event.delta().log_probs()) {
      of_answer.push_back(token.log_prob());
      ASSERT_EQ(token.top_size(), 1);
      EXPECT_EQ(token.top(0).token_id(), 'z');
      EXPECT_EQ(token.top(0).log_prob(), -0.25f);
    }
  }
  EXPECT_THAT(of_prompt, ElementsAre(-1.0f, -2.0f));
  EXPECT_THAT(of_answer, ElementsAre(-0.5f, -1.5f));
  const worker::v1::Submit submit = engine.WaitForSubmit();
  EXPECT_EQ(submit.log_probs(), 1);
  EXPECT_TRUE(submit.score());
}

// A group that leaves a gap, repeats itself or goes on for ever is not believed.
TEST_F(GenerateOptionsTest, TokensThatMakeNoSenseEndTheStream) {
  worker::v1::RequestEvent gap = TokensEvent(0, {'b'});
  gap.set_first_token_index(5);
  const std::pair<Events, std::string> cases[] = {
      {{TokensEvent(0, {'a'}), gap}, "token number 5 where number 1 is the next"},
      {{TokensEvent(0, {'a', 'b', 'c'})}, "3 tokens where 2 are the most"}};
  for (const auto& [events, message] : cases) {
    FakeEngine engine({}, Always(events));
    Start({&engine});
    WaitUntilServing();
    v1::GenerateRequest request = TextRequest("hello");
    request.set_max_new_tokens(2);
    const Answer answer = Generate(request);
    EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INTERNAL);
    EXPECT_THAT(answer.status.error_message(), HasSubstr(message));
    engine.WaitForCancel();
  }
}

TEST_F(GenerateOptionsTest, WhatIsOutOfRangeNamesItsField) {
  FakeEngine engine({}, SayScript("a"));
  Start({&engine});
  WaitUntilServing();
  const auto refusal = [&](auto change) {
    v1::GenerateRequest request = TextRequest("hello");
    change(request);
    const Answer answer = Generate(request);
    EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    return answer.status.error_message();
  };
  EXPECT_THAT(refusal([](auto& r) { r.mutable_log_probs()->set_top(21); }),
              HasSubstr("log_probs.top: 21"));
  EXPECT_THAT(refusal([](auto& r) { r.mutable_sampling()->add_logit_bias(); }),
              HasSubstr("sampling.logit_bias[0].token_id: must be set"));
  EXPECT_THAT(refusal([](auto& r) { r.add_stop_token_ids(-1); }), HasSubstr("stop_token_ids[0]"));
  EXPECT_THAT(refusal([](auto& r) {
                r.set_max_new_tokens(3);
                r.set_min_new_tokens(4);
              }),
              HasSubstr("min_new_tokens: 4 is not in [0, 3]"));
  EXPECT_THAT(refusal([](auto& r) { r.mutable_repetition_limit()->set_times(1); }),
              HasSubstr("repetition_limit.times: 1"));
  EXPECT_THAT(refusal([](auto& r) { r.mutable_sampling()->set_typical_p(0); }),
              HasSubstr("sampling.typical_p: 0 is not in (0, 1]"));
}

}  // namespace
}  // namespace phalanx
