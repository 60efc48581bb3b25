#include <future>
#include <memory>
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
using ::testing::SizeIs;

using GenerateTest = ServerTest;

TEST_F(GenerateTest, StreamsStartedDeltasAndFinishedInOrder) {
  FakeEngine engine({}, SayScript("Paris"));
  Start({&engine});
  WaitUntilServing();
  const Answer answer = Generate(TextRequest("capital?"));
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_TRUE(answer.in_order);
  EXPECT_THAT(answer.started.request_id(), SizeIs(32));
  EXPECT_EQ(answer.started.model(), "tiny");
  EXPECT_EQ(answer.started.prompt_tokens(), 8);
  EXPECT_EQ(answer.text, "Paris");
  EXPECT_THAT(answer.token_ids, ElementsAre('P', 'a', 'r', 'i', 's'));
  EXPECT_EQ(answer.finished.reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(answer.finished.usage().prompt_tokens(), 8);
  EXPECT_EQ(answer.finished.usage().completion_tokens(), 5);
  EXPECT_GE(answer.finished.timings().queue_seconds(), 0.25);
  EXPECT_EQ(answer.finished.timings().prefill_seconds(), 0.5);
  EXPECT_EQ(answer.finished.timings().decode_seconds(), 1.0);
  EXPECT_GT(answer.finished.timings().time_to_first_token_seconds(), 0.0);
}

TEST_F(GenerateTest, FillsInTheModelsDefaults) {
  FakeEngine engine({}, SayScript("a"));
  Start({&engine});
  WaitUntilServing();
  const Answer answer = Generate(TextRequest("hello"));
  EXPECT_EQ(answer.started.sampling().temperature(), 0.5f);
  EXPECT_EQ(answer.started.sampling().top_k(), 3);
  EXPECT_EQ(answer.started.sampling().top_p(), 0.75f);
  EXPECT_EQ(answer.started.max_new_tokens(), 59);
  const worker::v1::Submit submit = engine.WaitForSubmit();
  EXPECT_EQ(submit.temperature(), 0.5f);
  EXPECT_EQ(submit.seed(), answer.started.sampling().seed());
  EXPECT_EQ(submit.max_new_tokens(), 59);
  EXPECT_THAT(submit.eos_token_ids(), ElementsAre(2));
  EXPECT_GT(submit.deadline_seconds(), 0.0);
}

// "Paris", then the end; the first event says that `cached_tokens` of the prompt were cached.
FakeEngine::Script CachedScript(int cached_tokens) {
  return [=](const worker::v1::Submit& submit) {
    std::vector<worker::v1::RequestEvent> events = SayScript("Paris")(submit);
    events[0].set_started(true);
    events[0].set_cached_tokens(cached_tokens);
    return events;
  };
}

TEST_F(GenerateTest, UsageTellsWhatThePrefixCacheHad) {
  FakeEngine engine({}, CachedScript(5));
  Start({&engine});
  WaitUntilServing();
  EXPECT_EQ(Generate(TextRequest("capital?")).finished.usage().cached_tokens(), 5);
  v1::GenerateRequest request = TextRequest("capital?");
  request.add_stop("ari");
  const Answer stopped = Generate(request);
  EXPECT_EQ(stopped.finished.reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(stopped.finished.usage().cached_tokens(), 5) << "also if the engine is not heard out";
}

TEST_F(GenerateTest, UsageNeverTellsMoreCachedTokensThanThereAre) {
  FakeEngine engine({}, CachedScript(1000));
  Start({&engine});
  WaitUntilServing();
  EXPECT_EQ(Generate(TextRequest("capital?")).finished.usage().cached_tokens(), 8);
}

TEST_F(GenerateTest, UsageTellsOfGuessesUpToTheEndOfTheAnswer) {
  FakeEngine engine({}, [](const worker::v1::Submit& submit) {
    EXPECT_EQ(submit.max_draft_tokens(), 4);
    std::vector<worker::v1::RequestEvent> events = {
        TokensEvent(0, {'P', 'a', 'r', 'i', 's'}),
        FinishedEvent(0, worker::v1::EngineFinished::REASON_LENGTH)};
    events[0].set_drafted_tokens(9);
    events[0].set_accepted_tokens(4);
    return events;
  });
  Start({&engine});
  WaitUntilServing();
  v1::GenerateRequest request = TextRequest("capital?");
  request.mutable_speculation()->set_max_draft_tokens(4);
  const Answer whole = Generate(request);
  EXPECT_EQ(whole.finished.usage().drafted_tokens(), 9);
  EXPECT_EQ(whole.finished.usage().accepted_tokens(), 4);
  request.add_stop("r");
  const Answer stopped = Generate(request);
  EXPECT_EQ(stopped.finished.usage().completion_tokens(), 3);
  EXPECT_EQ(stopped.finished.usage().drafted_tokens(), 9);
  EXPECT_EQ(stopped.finished.usage().accepted_tokens(), 3) << "what follows is no part of it";
}

TEST_F(GenerateTest, TheCacheSaltGoesToTheEngine) {
  FakeEngine engine({}, SayScript("a"));
  Start({&engine});
  WaitUntilServing();
  v1::GenerateRequest request = TextRequest("hello");
  request.set_cache_salt("tenant 7");
  Generate(request);
  EXPECT_EQ(engine.WaitForSubmit().cache_salt(), "tenant 7");
  Generate(TextRequest("hello"));
  EXPECT_EQ(engine.WaitForSubmit(2).cache_salt(), "");
}

TEST_F(GenerateTest, TheConstraintGoesToTheEngine) {
  using Message = worker::v1::Constraint;
  FakeEngine engine({}, SayScript("a"));
  Start({&engine});
  WaitUntilServing();
  int submits = 0;
  const auto send = [&](const auto& set) {
    v1::GenerateRequest request = TextRequest("hello");
    set(*request.mutable_constraint());
    Generate(request);
    return engine.WaitForSubmit(++submits).constraint();
  };
  Message message = send([](v1::Constraint& c) { c.set_json_schema("{}"); });
  EXPECT_EQ(message.kind(), Message::KIND_JSON_SCHEMA);
  EXPECT_EQ(message.text(), "{}");
  EXPECT_EQ(message.begin(), Message::BEGIN_AT_ONCE);
  message = send([](v1::Constraint& c) { c.set_json_object(true); });
  EXPECT_EQ(message.kind(), Message::KIND_JSON_SCHEMA);
  EXPECT_EQ(message.text(), R"({"type":"object"})");
  message = send([](v1::Constraint& c) { c.set_regex("a+"); });
  EXPECT_EQ(message.kind(), Message::KIND_REGEX);
  EXPECT_EQ(message.text(), "a+");
  message = send([](v1::Constraint& c) {
    c.mutable_choices()->add_values("a\"b");
    c.mutable_choices()->add_values("\xc3\xbc");
  });
  EXPECT_EQ(message.kind(), Message::KIND_CHOICES);
  EXPECT_EQ(message.text(), "[\"a\\\"b\",\"\xc3\xbc\"]");
  message = send([](v1::Constraint& c) { c.set_lark("start: \"a\""); });
  EXPECT_EQ(message.kind(), Message::KIND_LARK);
  EXPECT_EQ(message.text(), "start: \"a\"");
}

TEST_F(GenerateTest, AConstraintBeginsAfterReasoningThatIsSplit) {
  using Message = worker::v1::Constraint;
  FakeEngine engine({}, SayScript("a"));
  Start({&engine});
  WaitUntilServing();
  v1::GenerateRequest request = TextRequest("hello");
  request.mutable_constraint()->set_regex("a");
  request.mutable_reasoning()->set_split(true);
  Generate(request);
  EXPECT_EQ(engine.WaitForSubmit().constraint().begin(), Message::BEGIN_AFTER_THINK_BLOCK);
  request.set_text("hello<think>\n");
  Generate(request);
  EXPECT_EQ(engine.WaitForSubmit(2).constraint().begin(), Message::BEGIN_INSIDE_THINK_BLOCK);
}

TEST_F(GenerateTest, ZeroIsAValueAndNotUnset) {
  FakeEngine engine({}, SayScript("a"));
  Start({&engine});
  WaitUntilServing();
  v1::GenerateRequest request = TextRequest("hello");
  request.mutable_sampling()->set_temperature(0);
  request.mutable_sampling()->set_top_k(0);
  request.mutable_sampling()->set_seed(0);
  request.set_max_new_tokens(1);
  request.set_ignore_eos(true);
  const Answer answer = Generate(request);
  EXPECT_TRUE(answer.started.sampling().has_seed());
  EXPECT_EQ(answer.started.sampling().seed(), 0u);
  const worker::v1::Submit submit = engine.WaitForSubmit();
  EXPECT_EQ(submit.temperature(), 0.0f);
  EXPECT_EQ(submit.top_k(), 0);
  EXPECT_EQ(submit.max_new_tokens(), 1);
  EXPECT_THAT(submit.eos_token_ids(), ElementsAre());
}

TEST_F(GenerateTest, TakesChatAndTokens) {
  FakeEngine engine({}, SayScript("a"));
  Start({&engine});
  WaitUntilServing();
  v1::GenerateRequest chat;
  v1::Message& message = *chat.mutable_chat()->add_messages();
  message.set_role("user");
  message.set_content("hi");
  EXPECT_EQ(Generate(chat).started.prompt_tokens(), 8);  // "user:hi;"
  v1::GenerateRequest tokens;
  tokens.mutable_tokens()->add_ids(7);
  tokens.mutable_tokens()->add_ids(8);
  EXPECT_EQ(Generate(tokens).started.prompt_tokens(), 2);
  EXPECT_THAT(engine.WaitForSubmit(2).prompt_token_ids(), ElementsAre(7, 8));
}

TEST_F(GenerateTest, WhatChangesThePromptReachesTheTextService) {
  FakeEngine engine({}, SayScript("a"));
  Start({&engine});
  WaitUntilServing();
  v1::GenerateRequest request;
  v1::Message& message = *request.mutable_chat()->add_messages();
  message.set_role("assistant");
  message.set_content("h");
  request.mutable_chat()->set_continue_last_message(true);
  request.mutable_chat()->set_template_arguments("{}");
  request.set_add_bos(true);
  EXPECT_TRUE(Generate(request).status.ok());
  EXPECT_THAT(
      engine.WaitForSubmit().prompt_token_ids(),
      ElementsAre(kFakeBos, '{', '}', 'a', 's', 's', 'i', 's', 't', 'a', 'n', 't', ':', 'h'));
  v1::GenerateRequest tokens;
  tokens.mutable_tokens()->add_ids(7);
  tokens.set_add_bos(false);
  EXPECT_EQ(Generate(tokens).status.error_message(), "add_bos: tokens are taken as they are");
}

TEST_F(GenerateTest, KeepsACharacterTogetherThatTokensSplit) {
  FakeEngine engine({}, SayScript("\xe2\x82\xac!"));
  Start({&engine});
  WaitUntilServing();
  const Answer answer = Generate(TextRequest("hi"));
  EXPECT_EQ(answer.text, "\xe2\x82\xac!");
  for (const v1::Delta& delta : answer.deltas) {
    EXPECT_TRUE(delta.text().empty() || delta.text().size() != 2) << delta.text();
  }
  EXPECT_THAT(answer.token_ids, SizeIs(4));
}

TEST_F(GenerateTest, TellsTheEndOfAnIncompleteCharacter) {
  FakeEngine engine({}, SayScript("a\xe2\x82"));
  Start({&engine});
  WaitUntilServing();
  EXPECT_EQ(Generate(TextRequest("hi")).text, "a\xef\xbf\xbd");
}

TEST_F(GenerateTest, EndsAtAStopStringAndCancelsTheRest) {
  FakeEngine engine({});
  Start({&engine});
  WaitUntilServing();
  v1::GenerateRequest request = TextRequest("hi");
  request.add_stop("never");
  request.add_stop("ND.");
  OpenCall call(*stub_, request);
  EXPECT_TRUE(call.Next().has_started());
  const uint64_t id = engine.WaitForSubmit().request_id();
  engine.Send(TokensEvent(id, {'a', 'E', 'N'}));
  EXPECT_EQ(call.Next().delta().text(), "aE");
  engine.Send(TokensEvent(id, {'D', '.', 'x'}));
  const v1::Delta delta = call.Next().delta();
  EXPECT_EQ(delta.text(), "");
  EXPECT_THAT(delta.token_ids(), ElementsAre('D', '.'));
  const v1::Finished finished = call.Next().finished();
  EXPECT_EQ(finished.reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(finished.stop(), "ND.");
  EXPECT_EQ(finished.usage().completion_tokens(), 5);
  EXPECT_GT(finished.timings().time_to_first_token_seconds(), 0.0);
  EXPECT_TRUE(call.End().ok());
  EXPECT_EQ(engine.WaitForCancel(), id);
  WaitUntilIdle();
  EXPECT_EQ(Metric("phalanx_requests_running"), "0");
  EXPECT_EQ(Metric("phalanx_generation_tokens_total"), "5");
}

TEST_F(GenerateTest, WithoutAMatchStopStringsChangeNothing) {
  FakeEngine engine({}, SayScript("Paris"));
  Start({&engine});
  WaitUntilServing();
  v1::GenerateRequest request = TextRequest("capital?");
  request.add_stop("is!");
  const Answer answer = Generate(request);
  EXPECT_EQ(answer.text, "Paris");
  EXPECT_EQ(answer.finished.reason(), v1::FINISH_REASON_LENGTH);
  EXPECT_FALSE(answer.finished.has_stop());
}

TEST_F(GenerateTest, SplitsTheReasoningOfAModelThatReasons) {
  FakeEngine engine({}, SayScript("<think>\nhm\n</think>\n\nYes"));
  CoordinatorServer::Options options = DefaultOptions();
  options.model.reasons = true;
  Start({&engine}, options);
  WaitUntilServing();
  const Answer answer = Generate(TextRequest("hi"));
  EXPECT_EQ(answer.reasoning_text, "hm\n");
  EXPECT_EQ(answer.text, "Yes");
  EXPECT_EQ(answer.finished.usage().completion_tokens(), 24);
  EXPECT_EQ(answer.finished.usage().reasoning_tokens(), 19);
  EXPECT_EQ(Metric("phalanx_reasoning_tokens_total"), "19");

  v1::GenerateRequest whole = TextRequest("hi");
  whole.mutable_reasoning()->set_split(false);
  EXPECT_EQ(Generate(whole).text, "<think>\nhm\n</think>\n\nYes");
}

TEST_F(GenerateTest, KnowsThatThePromptOpenedTheReasoning) {
  FakeEngine engine({}, SayScript("hm</think>Yes"));
  Start({&engine});
  WaitUntilServing();
  v1::GenerateRequest request = TextRequest("hi <think>\n");
  request.mutable_reasoning()->set_split(true);
  const Answer answer = Generate(request);
  EXPECT_EQ(answer.reasoning_text, "hm");
  EXPECT_EQ(answer.text, "Yes");
  v1::GenerateRequest tokens;
  for (const char byte : std::string("<think>")) tokens.mutable_tokens()->add_ids(byte);
  tokens.mutable_reasoning()->set_split(true);
  EXPECT_EQ(Generate(tokens).reasoning_text, "hm");
}

TEST_F(GenerateTest, ControlTokensInTextCountOnlyIfAllowed) {
  FakeEngine engine({}, SayScript("a"));
  Start({&engine});
  WaitUntilServing();
  v1::GenerateRequest request = TextRequest("<eos>");
  Generate(request);
  EXPECT_THAT(engine.WaitForSubmit(1).prompt_token_ids(), SizeIs(5));
  request.set_allow_special(true);
  Generate(request);
  EXPECT_THAT(engine.WaitForSubmit(2).prompt_token_ids(), ElementsAre(kFakeEos));
}

TEST_F(GenerateTest, CountsWhatItDid) {
  FakeEngine engine({}, SayScript("Paris"));
  Start({&engine});
  WaitUntilServing();
  Generate(TextRequest("capital?"));
  Generate(TextRequest(""));
  EXPECT_EQ(RequestsMetric("Generate", "OK"), "1");
  EXPECT_EQ(RequestsMetric("Generate", "INVALID_ARGUMENT"), "1");
  EXPECT_EQ(Metric("phalanx_prompt_tokens_total"), "8");
  EXPECT_EQ(Metric("phalanx_generation_tokens_total"), "5");
  EXPECT_EQ(Metric("phalanx_time_to_first_token_seconds_count"), "1");
  EXPECT_EQ(Metric("phalanx_inter_token_latency_seconds_count"), "4");
  // A refusal does not count as a fast answer.
  EXPECT_EQ(Metric("phalanx_e2e_request_latency_seconds_count"), "1");
  EXPECT_EQ(Metric("phalanx_requests_running"), "0");
  EXPECT_EQ(Metric("phalanx_requests_waiting"), "0");
  EXPECT_EQ(Metric("phalanx_worker_groups{state=\"serving\"}"), "1");
}

TEST_F(GenerateTest, NamesTheBadField) {
  FakeEngine engine({});
  Start({&engine});
  WaitUntilServing();
  v1::GenerateRequest request = TextRequest("hi");
  request.mutable_sampling()->set_temperature(101);
  const grpc::Status status = Generate(request).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "sampling.temperature: 101 is not in [0, 100]");
  EXPECT_EQ(Metric("phalanx_refusals_total{kind=\"out_of_range\"}"), "1");
}

TEST_F(GenerateTest, RefusesAPromptThatFillsTheGroupsContext) {
  FakeEngine engine({.context_tokens = 16});
  Start({&engine});
  WaitUntilServing();
  const grpc::Status status = Generate(TextRequest("sixteen letters!")).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("prompt: 16 tokens leave no room"));
  v1::GenerateRequest request = TextRequest("ten bytes!");
  request.set_max_new_tokens(7);
  EXPECT_THAT(Generate(request).status.error_message(),
              HasSubstr("max_new_tokens: 7 is not in [1, 6]"));
  EXPECT_EQ(Metric("phalanx_refusals_total{kind=\"too_long\"}"), "2");
}

// A short chat that does not say how long its answer may be begins as the reference does.
TEST_F(GenerateTest, TheReferencesLongRopePolicyIsTheDefault) {
  FakeEngine engine({});
  CoordinatorServer::Options options = DefaultOptions();
  options.model.original_context_tokens = 16;
  Start({&engine}, options);
  WaitUntilServing();
  OpenCall call(*stub_, TextRequest("hi"));
  const v1::Started started = call.Next().started();
  EXPECT_GT(started.max_new_tokens(), 16);
  EXPECT_EQ(started.long_rope().policy(), v1::LONG_ROPE_POLICY_REFERENCE);
  EXPECT_EQ(started.long_rope().original_context_tokens(), 16);
  EXPECT_FALSE(started.long_rope().long_from_start());
  EXPECT_EQ(engine.WaitForSubmit().long_rope_policy(), worker::v1::LONG_ROPE_POLICY_REFERENCE);
}

TEST_F(GenerateTest, LongRopePolicyTravelsAndIsToldToTheClient) {
  FakeEngine engine({});
  CoordinatorServer::Options options = DefaultOptions();
  options.model.original_context_tokens = 16;
  options.model.long_rope_policy = LongRopePolicy::kAdmission;
  Start({&engine}, options);
  WaitUntilServing();
  OpenCall call(*stub_, TextRequest("hi"));
  const v1::Started started = call.Next().started();
  EXPECT_EQ(started.long_rope().policy(), v1::LONG_ROPE_POLICY_ADMISSION);
  EXPECT_TRUE(started.long_rope().long_from_start());
  EXPECT_EQ(engine.WaitForSubmit().long_rope_policy(), worker::v1::LONG_ROPE_POLICY_ADMISSION);
}

TEST_F(GenerateTest, AdmissionTellsTheLongListFromPromptAndAnswer) {
  FakeEngine engine({});
  CoordinatorServer::Options options = DefaultOptions();
  options.model.original_context_tokens = 16;
  options.model.long_rope_policy = LongRopePolicy::kAdmission;
  Start({&engine}, options);
  WaitUntilServing();
  for (const int max_new_tokens : {14, 15}) {
    v1::GenerateRequest request = TextRequest("hi");
    request.set_max_new_tokens(max_new_tokens);
    OpenCall call(*stub_, request);
    EXPECT_EQ(call.Next().started().long_rope().long_from_start(), max_new_tokens == 15);
  }
}

TEST_F(GenerateTest, Serves64ClientsAtOnce) {
  FakeEngine first({}, SayScript("one answer")), second({}, SayScript("one answer"));
  Start({&first, &second});
  WaitUntilServing();
  std::vector<std::future<Answer>> answers;
  for (int i = 0; i < 64; ++i) {
    answers.push_back(
        std::async(std::launch::async, [this] { return Generate(TextRequest("hi")); }));
  }
  for (auto& future : answers) {
    const Answer answer = future.get();
    EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
    EXPECT_TRUE(answer.in_order);
    EXPECT_EQ(answer.text, "one answer");
  }
  EXPECT_EQ(Metric("phalanx_generation_tokens_total"), "640");
  EXPECT_EQ(Metric("phalanx_requests_running"), "0");
}

}  // namespace
}  // namespace phalanx
