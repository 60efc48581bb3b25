#include <cmath>
#include <string>
#include <vector>

#include "coordinator/server/testing/server_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr auto kScored = worker::v1::EngineFinished::REASON_SCORED;

// What a client saw of one Score call.
struct Scores {
  v1::ScoreStarted started;
  std::vector<float> log_probs;
  v1::ScoreFinished finished;
  grpc::Status status;
  // Whether the events came as ScoreStarted, ScoreDeltas without a gap, ScoreFinished.
  bool in_order = true;
};

class ScoreTest : public ServerTest {
 protected:
  static v1::ScoreRequest TextScoreRequest(const std::string& text) {
    v1::ScoreRequest request;
    request.set_text(text);
    return request;
  }

  Scores Score(const v1::ScoreRequest& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    Scores scores;
    const auto reader = stub_->Score(&context, request);
    v1::ScoreEvent event;
    int num_events = 0;
    while (reader->Read(&event)) {
      scores.in_order &= event.has_started() == (num_events++ == 0);
      scores.in_order &= scores.finished.scored_tokens() == 0;
      if (event.has_started()) scores.started = event.started();
      if (event.has_finished()) scores.finished = event.finished();
      if (!event.has_delta()) continue;
      scores.in_order &= event.delta().position() == static_cast<int>(scores.log_probs.size()) + 1;
      scores.log_probs.insert(scores.log_probs.end(), event.delta().log_probs().begin(),
                              event.delta().log_probs().end());
    }
    scores.status = reader->Finish();
    return scores;
  }
};

// -1, -2, ... in events of at most two.
std::vector<worker::v1::RequestEvent> ScoreAll(const worker::v1::Submit& submit) {
  std::vector<worker::v1::RequestEvent> events;
  for (int i = 1; i < submit.prompt_token_ids_size(); ++i) {
    if (i % 2 == 1) events.push_back(LogProbsEvent(submit.request_id(), {}));
    events.back().add_log_probs(static_cast<float>(-i));
  }
  events.push_back(FinishedEvent(submit.request_id(), kScored));
  return events;
}

TEST_F(ScoreTest, TellsALogProbabilityForEachTokenButTheFirst) {
  FakeEngine engine({}, ScoreAll);
  Start({&engine});
  WaitUntilServing();
  const Scores scores = Score(TextScoreRequest("abcd"));
  ASSERT_TRUE(scores.status.ok()) << scores.status.error_message();
  EXPECT_TRUE(scores.in_order);
  EXPECT_EQ(scores.started.model(), "tiny");
  EXPECT_THAT(scores.started.token_ids(), ElementsAre('a', 'b', 'c', 'd'));
  EXPECT_THAT(scores.log_probs, ElementsAre(-1, -2, -3));
  EXPECT_EQ(scores.finished.scored_tokens(), 3);
  EXPECT_GE(scores.finished.queue_seconds(), 0.25);
  EXPECT_EQ(scores.finished.compute_seconds(), 1.5);
  const worker::v1::Submit submit = engine.WaitForSubmit();
  EXPECT_TRUE(submit.score());
  EXPECT_EQ(submit.max_new_tokens(), 0);
  EXPECT_THAT(submit.eos_token_ids(), IsEmpty());
  EXPECT_EQ(RequestsMetric("Score", "OK"), "1");
  EXPECT_EQ(RequestsMetric("Generate", "OK"), "0");
  EXPECT_EQ(Metric("phalanx_prompt_tokens_total"), "4");
  EXPECT_EQ(Metric("phalanx_generation_tokens_total"), "0");
  EXPECT_EQ(Metric("phalanx_e2e_request_latency_seconds_count"), "0");
  EXPECT_EQ(Metric("phalanx_requests_running"), "0");
}

// Two deltas, because the client has read the first before the engine goes on.
TEST_F(ScoreTest, EachDeltaTellsThePositionOfItsFirstToken) {
  FakeEngine engine({});
  Start({&engine});
  WaitUntilServing();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  const auto reader = stub_->Score(&context, TextScoreRequest("abcd"));
  const uint64_t id = engine.WaitForSubmit().request_id();
  v1::ScoreEvent event;
  engine.Send(LogProbsEvent(id, {-1, -2}));
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_TRUE(event.has_started());
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(event.delta().position(), 1);
  engine.Send(LogProbsEvent(id, {-3}));
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(event.delta().position(), 3);
  EXPECT_THAT(event.delta().log_probs(), ElementsAre(-3));
  engine.Send(FinishedEvent(id, kScored));
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_EQ(event.finished().scored_tokens(), 3);
  EXPECT_TRUE(reader->Finish().ok());
}

TEST_F(ScoreTest, TakesTokensUpToTheWholeContext) {
  FakeEngine engine({.context_tokens = 16}, ScoreAll);
  Start({&engine});
  WaitUntilServing();
  v1::ScoreRequest request;
  for (int i = 0; i < 16; ++i) request.mutable_tokens()->add_ids(i);
  EXPECT_EQ(Score(request).finished.scored_tokens(), 15);
  request.mutable_tokens()->add_ids(1);
  const Scores refused = Score(request);
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(refused.status.error_message(),
              HasSubstr("17 tokens are more than the context of 16"));
}

TEST_F(ScoreTest, RefusesWhatHasNoScore) {
  FakeEngine engine({});
  Start({&engine});
  WaitUntilServing();
  EXPECT_THAT(Score(TextScoreRequest("a")).status.error_message(), HasSubstr("input: 1 tokens"));
  EXPECT_EQ(Score({}).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(RequestsMetric("Score", "INVALID_ARGUMENT"), "2");
}

TEST_F(ScoreTest, AGroupThatMakesNoSenseIsAnInternalError) {
  const auto nan = [](const worker::v1::Submit& submit) {
    return std::vector{LogProbsEvent(submit.request_id(), {std::nanf("")})};
  };
  const auto likely = [](const worker::v1::Submit& submit) {
    return std::vector{LogProbsEvent(submit.request_id(), {0.5f})};
  };
  const auto tokens = [](const worker::v1::Submit& submit) {
    return std::vector{TokensEvent(submit.request_id(), {1})};
  };
  const auto too_few = [](const worker::v1::Submit& submit) {
    return std::vector{LogProbsEvent(submit.request_id(), {-1}),
                       FinishedEvent(submit.request_id(), kScored)};
  };
  for (const FakeEngine::Script& script :
       std::vector<FakeEngine::Script>{nan, likely, tokens, too_few, SayScript("")}) {
    FakeEngine engine({}, script);
    Start({&engine});
    WaitUntilServing();
    EXPECT_EQ(Score(TextScoreRequest("abc")).status.error_code(), grpc::StatusCode::INTERNAL);
    StopServer();
  }
}

TEST_F(ScoreTest, ScoresThatNobodyAskedForFailTheRequest) {
  FakeEngine engine({}, ScoreAll);
  Start({&engine});
  WaitUntilServing();
  const grpc::Status status = Generate(TextRequest("abc")).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_THAT(status.error_message(), HasSubstr("scores where tokens were asked for"));
}

TEST_F(ScoreTest, ACancelledCallIsCancelledInTheEngine) {
  FakeEngine engine({});
  Start({&engine});
  WaitUntilServing();
  grpc::ClientContext context;
  const auto reader = stub_->Score(&context, TextScoreRequest("abc"));
  v1::ScoreEvent event;
  EXPECT_TRUE(reader->Read(&event));
  context.TryCancel();
  EXPECT_EQ(engine.WaitForCancel(), engine.WaitForSubmit().request_id());
  WaitUntilIdle();
  EXPECT_EQ(Metric("phalanx_requests_running"), "0");
}

}  // namespace
}  // namespace phalanx
