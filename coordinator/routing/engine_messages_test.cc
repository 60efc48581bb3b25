#include "coordinator/routing/engine_messages.h"

#include <limits>
#include <string>
#include <vector>

#include "base/retry_after.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

EngineEvent OnlyEvent(const worker::v1::StepEvents& step) {
  const std::vector<EngineEvent> events = EventsFrom(step);
  EXPECT_THAT(events, SizeIs(1));
  return events.at(0);
}

TEST(SubmitMessageTest, CarriesEveryField) {
  EngineRequest request;
  request.id = 5;
  request.prompt_token_ids = {1, 2};
  request.max_new_tokens = 3;
  request.eos_token_ids = {7, 8};
  request.sampling.temperature = 0.5f;
  request.sampling.top_k = 4;
  request.sampling.top_p = 0.25f;
  request.seed = 6;
  request.score = true;
  request.cache_salt = "salt";
  request.priority = -3;
  request.tenant = "tenant";
  request.time_left = absl::Milliseconds(1500);
  const worker::v1::Submit submit = SubmitMessage(request).submit();
  EXPECT_EQ(submit.request_id(), 5u);
  EXPECT_THAT(submit.prompt_token_ids(), ElementsAre(1, 2));
  EXPECT_EQ(submit.max_new_tokens(), 3);
  EXPECT_THAT(submit.eos_token_ids(), ElementsAre(7, 8));
  EXPECT_EQ(submit.temperature(), 0.5f);
  EXPECT_EQ(submit.top_k(), 4);
  EXPECT_EQ(submit.top_p(), 0.25f);
  EXPECT_EQ(submit.seed(), 6u);
  EXPECT_TRUE(submit.score());
  EXPECT_EQ(submit.cache_salt(), "salt");
  EXPECT_EQ(submit.priority(), -3);
  EXPECT_EQ(submit.tenant(), "tenant");
  EXPECT_EQ(submit.deadline_seconds(), 1.5);
}

TEST(SubmitMessageTest, HasTheConstraintIfThereIsOne) {
  using Message = worker::v1::Constraint;
  EngineRequest request;
  EXPECT_FALSE(SubmitMessage(request).submit().has_constraint());
  request.constraint = {EngineConstraint::Kind::kRegex, "a|b",
                        EngineConstraint::Begin::kInsideThinkBlock};
  const Message message = SubmitMessage(request).submit().constraint();
  EXPECT_EQ(message.kind(), Message::KIND_REGEX);
  EXPECT_EQ(message.text(), "a|b");
  EXPECT_EQ(message.begin(), Message::BEGIN_INSIDE_THINK_BLOCK);
  const std::pair<EngineConstraint::Kind, Message::Kind> kinds[] = {
      {EngineConstraint::Kind::kJsonSchema, Message::KIND_JSON_SCHEMA},
      {EngineConstraint::Kind::kChoices, Message::KIND_CHOICES},
      {EngineConstraint::Kind::kLark, Message::KIND_LARK}};
  for (const auto& [kind, expected] : kinds) {
    request.constraint->kind = kind;
    EXPECT_EQ(SubmitMessage(request).submit().constraint().kind(), expected);
  }
  request.constraint->begin = EngineConstraint::Begin::kAfterThinkBlock;
  EXPECT_EQ(SubmitMessage(request).submit().constraint().begin(), Message::BEGIN_AFTER_THINK_BLOCK);
  request.constraint->begin = EngineConstraint::Begin::kAtOnce;
  EXPECT_EQ(SubmitMessage(request).submit().constraint().begin(), Message::BEGIN_AT_ONCE);
}

TEST(SubmitMessageTest, HasTheLimitOfTheReasoningIfThereIsOne) {
  EngineRequest request;
  EXPECT_FALSE(SubmitMessage(request).submit().has_reasoning_limit());
  request.options.reasoning_limit = {
      .max_tokens = 5, .close_token_ids = {7, 8}, .opened_by_prompt = true};
  const worker::v1::ReasoningLimit limit = SubmitMessage(request).submit().reasoning_limit();
  EXPECT_EQ(limit.max_tokens(), 5);
  EXPECT_THAT(limit.close_token_ids(), ElementsAre(7, 8));
  EXPECT_TRUE(limit.opened_by_prompt());
}

TEST(SubmitMessageTest, HasTheLengthOfDraftsIfThereAreAny) {
  EngineRequest request;
  EXPECT_FALSE(SubmitMessage(request).submit().has_max_draft_tokens());
  request.options.max_draft_tokens = 5;
  EXPECT_EQ(SubmitMessage(request).submit().max_draft_tokens(), 5);
}

TEST(SubmitMessageTest, HasTheStreamIntervalIfTokensAreToComeTogether) {
  EngineRequest request;
  EXPECT_FALSE(SubmitMessage(request).submit().has_stream_interval());
  request.options.stream_interval = 5;
  EXPECT_EQ(SubmitMessage(request).submit().stream_interval(), 5);
}

TEST(SubmitMessageTest, NamesThePolicyOfLongRope) {
  EngineRequest request;
  request.long_rope_policy = LongRopePolicy::kReference;
  EXPECT_EQ(SubmitMessage(request).submit().long_rope_policy(),
            worker::v1::LONG_ROPE_POLICY_REFERENCE);
  request.long_rope_policy = LongRopePolicy::kAdmission;
  EXPECT_EQ(SubmitMessage(request).submit().long_rope_policy(),
            worker::v1::LONG_ROPE_POLICY_ADMISSION);
}

// On the wire 0 means that there is no deadline.
TEST(SubmitMessageTest, ADeadlineThatIsOverIsNotTakenForNone) {
  EngineRequest request;
  EXPECT_EQ(SubmitMessage(request).submit().deadline_seconds(), 0.0);
  for (const absl::Duration left : {absl::ZeroDuration(), -absl::Seconds(5)}) {
    request.time_left = left;
    EXPECT_GT(SubmitMessage(request).submit().deadline_seconds(), 0.0);
    EXPECT_LE(SubmitMessage(request).submit().deadline_seconds(), 0.001);
  }
}

TEST(CancelMessageTest, NamesTheRequest) { EXPECT_EQ(CancelMessage(7).cancel().request_id(), 7u); }

TEST(HelloFromTest, CarriesEveryField) {
  worker::v1::Hello message;
  message.set_model_name("tiny");
  message.set_model_fingerprint("feed");
  message.set_context_tokens(64);
  message.set_world(2);
  message.set_total_kv_blocks(9);
  message.set_weights_digest("cafe");
  message.add_features("score");
  message.add_features("of a later version");
  const GroupHello hello = HelloFrom(message);
  EXPECT_EQ(hello.model_name, "tiny");
  EXPECT_EQ(hello.model_fingerprint, "feed");
  EXPECT_EQ(hello.context_tokens, 64);
  EXPECT_EQ(hello.world, 2);
  EXPECT_EQ(hello.total_kv_blocks, 9);
  EXPECT_EQ(hello.weights_digest, "cafe");
  EXPECT_EQ(hello.features, (std::vector<std::string>{"score", "of a later version"}));
}

TEST(EventsFromTest, CarriesTokensAndScores) {
  worker::v1::StepEvents step;
  worker::v1::RequestEvent* tokens = step.add_requests();
  tokens->set_request_id(1);
  tokens->set_accepted(true);
  tokens->mutable_token_ids()->Add(5);
  tokens->set_drafted_tokens(3);
  // More than there can be.
  tokens->set_accepted_tokens(4);
  worker::v1::RequestEvent* scores = step.add_requests();
  scores->set_request_id(2);
  scores->set_started(true);
  scores->set_cached_tokens(16);
  scores->mutable_log_probs()->Add(-0.5f);
  const std::vector<EngineEvent> events = EventsFrom(step);
  ASSERT_THAT(events, SizeIs(2));
  EXPECT_EQ(events[0].request_id, 1u);
  EXPECT_TRUE(events[0].accepted);
  EXPECT_FALSE(events[0].started);
  EXPECT_THAT(events[0].token_ids, ElementsAre(5));
  EXPECT_EQ(events[0].drafted_tokens, 3);
  EXPECT_EQ(events[0].accepted_tokens, 3);
  EXPECT_THAT(events[0].log_probs, IsEmpty());
  EXPECT_EQ(events[1].request_id, 2u);
  EXPECT_FALSE(events[1].accepted);
  EXPECT_TRUE(events[1].started);
  EXPECT_EQ(events[1].cached_tokens, 16);
  EXPECT_THAT(events[1].log_probs, ElementsAre(-0.5f));
  for (const EngineEvent& event : events) {
    EXPECT_FALSE(event.finished.has_value());
    EXPECT_TRUE(event.error.ok());
  }
}

TEST(EventsFromTest, CarriesEveryReasonAndTheTimes) {
  using Message = worker::v1::EngineFinished;
  using Reason = EngineFinish::Reason;
  for (const auto& [sent, expected] : {std::pair(Message::REASON_EOS, Reason::kEos),
                                       std::pair(Message::REASON_LENGTH, Reason::kLength),
                                       std::pair(Message::REASON_SCORED, Reason::kScored)}) {
    worker::v1::StepEvents step;
    Message& finished = *step.add_requests()->mutable_finished();
    finished.set_reason(sent);
    finished.set_queue_seconds(0.25);
    finished.set_prefill_seconds(0.5);
    finished.set_decode_seconds(2);
    const EngineEvent event = OnlyEvent(step);
    ASSERT_TRUE(event.finished.has_value());
    EXPECT_EQ(event.finished->reason, expected);
    EXPECT_EQ(event.finished->queue, absl::Milliseconds(250));
    EXPECT_EQ(event.finished->prefill, absl::Milliseconds(500));
    EXPECT_EQ(event.finished->decode, absl::Seconds(2));
  }
}

TEST(EventsFromTest, TimesThatAreNoneCountAsZero) {
  for (const double seconds :
       {-1.0, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    worker::v1::StepEvents step;
    worker::v1::EngineFinished& finished = *step.add_requests()->mutable_finished();
    finished.set_reason(worker::v1::EngineFinished::REASON_EOS);
    finished.set_queue_seconds(seconds);
    finished.set_prefill_seconds(seconds);
    finished.set_decode_seconds(seconds);
    const EngineEvent event = OnlyEvent(step);
    EXPECT_EQ(event.finished->queue, absl::ZeroDuration()) << seconds;
    EXPECT_EQ(event.finished->prefill, absl::ZeroDuration()) << seconds;
    EXPECT_EQ(event.finished->decode, absl::ZeroDuration()) << seconds;
  }
}

TEST(EventsFromTest, AnEndWithoutAReasonIsAnError) {
  worker::v1::StepEvents step;
  step.add_requests()->mutable_finished()->set_queue_seconds(1);
  const EngineEvent event = OnlyEvent(step);
  EXPECT_FALSE(event.finished.has_value());
  EXPECT_EQ(event.error.code(), absl::StatusCode::kInternal);
}

TEST(EventsFromTest, AnErrorKeepsItsCodeIfThereIsSuchAOne) {
  // The codes of gRPC, from CANCELLED to UNAUTHENTICATED.
  for (int code = 1; code <= 16; ++code) {
    worker::v1::StepEvents step;
    step.add_requests()->mutable_error()->set_code(code);
    step.mutable_requests(0)->mutable_error()->set_message("broken");
    EXPECT_EQ(OnlyEvent(step).error, absl::Status(static_cast<absl::StatusCode>(code), "broken"));
  }
  for (const int code : {-1, 0, 17}) {
    worker::v1::StepEvents step;
    step.add_requests()->mutable_error()->set_code(code);
    EXPECT_EQ(OnlyEvent(step).error.code(), absl::StatusCode::kInternal) << code;
  }
}

absl::Status Refusal(double retry_after_seconds) {
  worker::v1::StepEvents step;
  worker::v1::EngineError& error = *step.add_requests()->mutable_error();
  error.set_code(static_cast<int>(absl::StatusCode::kResourceExhausted));
  error.set_retry_after_seconds(retry_after_seconds);
  return OnlyEvent(step).error;
}

TEST(EventsFromTest, ARefusalTellsWhenToTryAgain) {
  EXPECT_TRUE(absl::IsResourceExhausted(Refusal(2.5)));
  EXPECT_EQ(RetryAfterOf(Refusal(2.5)), absl::Milliseconds(2500));
  for (const double none : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN()}) {
    EXPECT_EQ(RetryAfterOf(Refusal(none)), std::nullopt) << none;
  }
}

TEST(LoadFromTest, CountsAreNeverNegative) {
  worker::v1::Load load;
  load.set_running_requests(3);
  load.set_waiting_requests(4);
  EXPECT_EQ(LoadFrom(load).running_requests, 3);
  EXPECT_EQ(LoadFrom(load).waiting_requests, 4);
  load.set_running_requests(-3);
  load.set_waiting_requests(-4);
  EXPECT_EQ(LoadFrom(load).running_requests, 0);
  EXPECT_EQ(LoadFrom(load).waiting_requests, 0);
}

}  // namespace
}  // namespace phalanx
