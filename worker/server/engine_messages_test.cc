#include "worker/server/engine_messages.h"

#include <cmath>
#include <limits>
#include <string>

#include "base/retry_after.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ToGenerationRequestTest, TakesEveryField) {
  worker::v1::Submit submit;
  submit.add_prompt_token_ids(4);
  submit.add_prompt_token_ids(5);
  submit.set_max_new_tokens(6);
  submit.add_eos_token_ids(7);
  submit.set_temperature(0.5f);
  submit.set_top_k(8);
  submit.set_top_p(0.25f);
  submit.set_seed(9);
  submit.set_deadline_seconds(1.5);
  submit.set_cache_salt("salt");
  submit.set_priority(-3);
  submit.set_tenant("tenant");
  const GenerationRequest request = ToGenerationRequest(submit).value();
  EXPECT_THAT(request.prompt_token_ids, ElementsAre(4, 5));
  EXPECT_EQ(request.max_new_tokens, 6);
  EXPECT_THAT(request.eos_token_ids, ElementsAre(7));
  EXPECT_EQ(request.sampling.temperature, 0.5f);
  EXPECT_EQ(request.sampling.top_k, 8);
  EXPECT_EQ(request.sampling.top_p, 0.25f);
  EXPECT_EQ(request.seed, 9u);
  EXPECT_EQ(request.timeout, absl::Seconds(1.5));
  EXPECT_EQ(request.cache_salt, "salt");
  EXPECT_EQ(request.priority, -3);
  EXPECT_EQ(request.tenant, "tenant");
}

TEST(ToGenerationRequestTest, TakesAConstraintOfEveryKind) {
  using Message = worker::v1::Constraint;
  const std::pair<Message::Kind, ConstraintKind> kinds[] = {
      {Message::KIND_JSON_SCHEMA, ConstraintKind::kJsonSchema},
      {Message::KIND_REGEX, ConstraintKind::kRegex},
      {Message::KIND_CHOICES, ConstraintKind::kChoices},
      {Message::KIND_LARK, ConstraintKind::kLark}};
  const std::pair<Message::Begin, AnswerBegin> begins[] = {
      {Message::BEGIN_AT_ONCE, AnswerBegin::kAtOnce},
      {Message::BEGIN_AFTER_THINK_BLOCK, AnswerBegin::kAfterThinkBlock},
      {Message::BEGIN_INSIDE_THINK_BLOCK, AnswerBegin::kInsideThinkBlock}};
  worker::v1::Submit submit;
  EXPECT_FALSE(ToGenerationRequest(submit)->constraint.has_value());
  submit.mutable_constraint()->set_text("text");
  for (const auto& [kind, expected_kind] : kinds) {
    for (const auto& [begin, expected_begin] : begins) {
      submit.mutable_constraint()->set_kind(kind);
      submit.mutable_constraint()->set_begin(begin);
      const GenerationRequest request = ToGenerationRequest(submit).value();
      EXPECT_EQ(request.constraint->source, (ConstraintSource{expected_kind, "text"}));
      EXPECT_EQ(request.constraint->begin, expected_begin);
    }
  }
}

TEST(ToGenerationRequestTest, TakesTheLimitOfTheReasoning) {
  worker::v1::Submit submit;
  EXPECT_FALSE(ToGenerationRequest(submit)->options.reasoning_limit.has_value());
  worker::v1::ReasoningLimit& limit = *submit.mutable_reasoning_limit();
  EXPECT_EQ(ToGenerationRequest(submit)->options.reasoning_limit, ReasoningLimit());
  limit.set_max_tokens(5);
  limit.add_close_token_ids(7);
  limit.add_close_token_ids(8);
  limit.set_opened_by_prompt(true);
  EXPECT_EQ(ToGenerationRequest(submit)->options.reasoning_limit,
            (ReasoningLimit{5, {7, 8}, true}));
}

TEST(ToGenerationRequestTest, TakesTheLengthOfDraftsIfThereAreAny) {
  worker::v1::Submit submit;
  EXPECT_EQ(ToGenerationRequest(submit)->options.max_draft_tokens, std::nullopt);
  submit.set_max_draft_tokens(0);
  EXPECT_EQ(ToGenerationRequest(submit)->options.max_draft_tokens, 0) << "which is refused later";
}

TEST(ToGenerationRequestTest, TokensComeOneByOneUnlessAnIntervalIsSet) {
  worker::v1::Submit submit;
  EXPECT_EQ(ToGenerationRequest(submit)->options.stream_interval, 1);
  submit.set_stream_interval(0);
  EXPECT_EQ(ToGenerationRequest(submit)->options.stream_interval, 0) << "which is refused later";
  submit.set_stream_interval(7);
  EXPECT_EQ(ToGenerationRequest(submit)->options.stream_interval, 7);
}

TEST(ToGenerationRequestTest, RefusesConstraintsOfNoKnownKind) {
  worker::v1::Submit submit;
  submit.mutable_constraint()->set_text("text");
  EXPECT_THAT(std::string(ToGenerationRequest(submit).status().message()),
              HasSubstr("constraint.kind 0"));
  submit.mutable_constraint()->set_kind(worker::v1::Constraint::KIND_REGEX);
  submit.mutable_constraint()->set_begin(static_cast<worker::v1::Constraint::Begin>(77));
  EXPECT_THAT(std::string(ToGenerationRequest(submit).status().message()),
              HasSubstr("constraint.begin 77"));
}

TEST(ToGenerationRequestTest, NoDeadlineIsZero) {
  EXPECT_EQ(ToGenerationRequest(worker::v1::Submit())->timeout, absl::InfiniteDuration());
}

TEST(ToGenerationRequestTest, RefusesDeadlinesThatAreNoTime) {
  for (const double deadline : {-1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    worker::v1::Submit submit;
    submit.set_deadline_seconds(deadline);
    const absl::Status status = ToGenerationRequest(submit).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("deadline_seconds"));
  }
}

TEST(ToStepEventsTest, TellsTokensEndsAndLoad) {
  RequestEvent running;
  running.id = RequestId{1};
  running.started = true;
  running.cached_tokens = 32;
  running.token_ids = {10, 11};
  running.drafted_tokens = 3;
  running.accepted_tokens = 1;
  RequestEvent finished;
  finished.id = RequestId{2};
  finished.finished = {.reason = FinishReason::kEos,
                       .queue = absl::Seconds(1),
                       .prefill = absl::Seconds(2),
                       .decode = absl::Seconds(3)};
  RequestEvent failed;
  failed.id = RequestId{3};
  failed.error = absl::DeadlineExceededError("too late");
  const worker::v1::SessionResponse response =
      ToStepEvents({running, finished, failed},
                   {.running_requests = 4, .waiting_requests = 5, .used_kv_blocks = 6});

  const worker::v1::StepEvents& step = response.step();
  ASSERT_EQ(step.requests_size(), 3);
  EXPECT_EQ(step.requests(0).request_id(), 1u);
  EXPECT_TRUE(step.requests(0).started());
  EXPECT_EQ(step.requests(0).cached_tokens(), 32);
  EXPECT_THAT(step.requests(0).token_ids(), ElementsAre(10, 11));
  EXPECT_EQ(step.requests(0).drafted_tokens(), 3);
  EXPECT_EQ(step.requests(0).accepted_tokens(), 1);
  EXPECT_FALSE(step.requests(0).has_finished() || step.requests(0).has_error());
  EXPECT_FALSE(step.requests(1).started());
  EXPECT_EQ(step.requests(1).finished().reason(), worker::v1::EngineFinished::REASON_EOS);
  EXPECT_EQ(step.requests(1).finished().queue_seconds(), 1.0);
  EXPECT_EQ(step.requests(1).finished().prefill_seconds(), 2.0);
  EXPECT_EQ(step.requests(1).finished().decode_seconds(), 3.0);
  EXPECT_FALSE(step.requests(1).has_error());
  EXPECT_EQ(step.requests(2).error().code(), 4);
  EXPECT_EQ(step.requests(2).error().message(), "too late");
  EXPECT_EQ(step.load().running_requests(), 4);
  EXPECT_EQ(step.load().waiting_requests(), 5);
  EXPECT_EQ(step.load().used_kv_blocks(), 6);
}

TEST(ToRefusalTest, TellsWhenToTryAgain) {
  const absl::Status full = absl::ResourceExhaustedError("full");
  const EngineLoad load = {.waiting_tokens = 7};
  const worker::v1::StepEvents step =
      ToRefusal(RequestId{1}, WithRetryAfter(full, absl::Milliseconds(2500)), load).step();
  EXPECT_EQ(step.requests(0).error().retry_after_seconds(), 2.5);
  EXPECT_EQ(step.load().waiting_tokens(), 7);
  EXPECT_EQ(ToRefusal(RequestId{1}, full, load).step().requests(0).error().retry_after_seconds(),
            0);
}

}  // namespace
}  // namespace phalanx
