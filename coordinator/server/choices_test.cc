// Calls with several choices: one stream, one engine request for each.

#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/server/testing/server_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

// What came for one choice.
struct ChoiceAnswer {
  std::string text;
  std::vector<int32_t> token_ids;
  int num_finished = 0;
  v1::Finished finished;
  bool delta_after_finished = false;
};

class ChoicesTest : public ServerTest {
 protected:
  static v1::GenerateRequest Request(int n) {
    v1::GenerateRequest request = TextRequest("hello");
    request.mutable_sampling()->set_seed(~uint64_t{0} - 1);
    request.set_n(n);
    return request;
  }

  // Runs a call to its end and sorts what came by its choice.
  std::map<int, ChoiceAnswer> Run(const v1::GenerateRequest& request) {
    std::map<int, ChoiceAnswer> choices;
    grpc::ClientContext context;
    const auto reader = stub_->Generate(&context, request);
    v1::GenerateEvent event;
    uint64_t sequence = 0;
    while (reader->Read(&event)) {
      if (event.has_delta()) {
        EXPECT_EQ(event.delta().sequence(), sequence++);
        ChoiceAnswer& choice = choices[event.delta().choice()];
        choice.delta_after_finished |= choice.num_finished > 0;
        choice.text += event.delta().text();
        choice.token_ids.insert(choice.token_ids.end(), event.delta().token_ids().begin(),
                                event.delta().token_ids().end());
      }
      if (event.has_finished()) {
        ChoiceAnswer& choice = choices[event.finished().choice()];
        ++choice.num_finished;
        choice.finished = event.finished();
      }
    }
    status_ = reader->Finish();
    return choices;
  }

  grpc::Status status_;
};

// Says the seed, so that answers differ as they would.
std::vector<worker::v1::RequestEvent> SaySeed(const worker::v1::Submit& submit) {
  return SayScript(absl::StrCat("seed ", submit.seed(), " of ", submit.prompt_token_ids_size()))(
      submit);
}

// Also across the end of the seeds' range.
TEST_F(ChoicesTest, EachIsWhatItsSeedGetsAlone) {
  FakeEngine engine({}, SaySeed);
  Start({&engine});
  WaitUntilServing();
  const v1::GenerateRequest request = Request(4);
  const std::map<int, ChoiceAnswer> choices = Run(request);
  ASSERT_TRUE(status_.ok()) << status_.error_message();
  ASSERT_EQ(choices.size(), 4u);
  for (int i = 0; i < 4; ++i) {
    SCOPED_TRACE(i);
    v1::GenerateRequest alone = request;
    alone.clear_n();
    alone.mutable_sampling()->set_seed(request.sampling().seed() + i);
    const Answer answer = Generate(alone);
    const ChoiceAnswer& choice = choices.at(i);
    EXPECT_EQ(choice.text, answer.text);
    EXPECT_EQ(choice.token_ids, answer.token_ids);
    EXPECT_EQ(choice.finished.reason(), answer.finished.reason());
    EXPECT_EQ(choice.num_finished, 1);
    EXPECT_FALSE(choice.delta_after_finished);
    EXPECT_EQ(choice.finished.usage().prompt_tokens(), 5);
    EXPECT_EQ(choice.finished.usage().completion_tokens(),
              answer.finished.usage().completion_tokens());
  }
}

TEST_F(ChoicesTest, CountsOneRequestOnePromptAndAllTokens) {
  FakeEngine engine({}, SayScript("four"));
  Start({&engine});
  WaitUntilServing();
  EXPECT_EQ(Run(Request(3)).size(), 3u);
  EXPECT_EQ(RequestsMetric("Generate", "OK"), "1");
  EXPECT_EQ(Metric("phalanx_prompt_tokens_total"), "5");
  EXPECT_EQ(Metric("phalanx_generation_tokens_total"), "12");
  EXPECT_EQ(Metric("phalanx_time_to_first_token_seconds_count"), "1");
  EXPECT_EQ(Metric("phalanx_inter_token_latency_seconds_count"), "9");
  EXPECT_EQ(Metric("phalanx_requests_running"), "0");
  EXPECT_EQ(Metric("phalanx_requests_waiting"), "0");
}

TEST_F(ChoicesTest, AStopStringEndsItsOwnChoiceOnly) {
  FakeEngine engine({});
  Start({&engine});
  WaitUntilServing();
  v1::GenerateRequest request = Request(2);
  request.add_stop("END");
  OpenCall call(*stub_, request);
  EXPECT_TRUE(call.Next().has_started());
  const uint64_t first = engine.WaitForSubmit(1).request_id();
  const uint64_t second = engine.WaitForSubmit(2).request_id();
  engine.Send(TokensEvent(second, {'a', 'E', 'N', 'D', 'x'}));
  EXPECT_EQ(call.Next().delta().text(), "a");
  const v1::Finished stopped = call.Next().finished();
  EXPECT_EQ(stopped.choice(), 1);
  EXPECT_EQ(stopped.stop(), "END");
  EXPECT_EQ(stopped.usage().completion_tokens(), 4);
  EXPECT_EQ(engine.WaitForCancel(), second);
  engine.Send(TokensEvent(first, {'b'}));
  EXPECT_EQ(call.Next().delta().text(), "b");
  engine.Send(FinishedEvent(first, worker::v1::EngineFinished::REASON_EOS));
  const v1::Finished finished = call.Next().finished();
  EXPECT_EQ(finished.choice(), 0);
  EXPECT_EQ(finished.reason(), v1::FINISH_REASON_STOP);
  EXPECT_FALSE(finished.has_stop());
  EXPECT_TRUE(call.End().ok());
}

TEST_F(ChoicesTest, ACancelledCallCancelsAllOfThem) {
  FakeEngine engine({});
  Start({&engine});
  WaitUntilServing();
  OpenCall call(*stub_, Request(3));
  EXPECT_TRUE(call.Next().has_started());
  std::vector<uint64_t> submitted, cancelled;
  for (int i = 1; i <= 3; ++i) submitted.push_back(engine.WaitForSubmit(i).request_id());
  call.context.TryCancel();
  for (int i = 1; i <= 3; ++i) cancelled.push_back(engine.WaitForCancel(i));
  EXPECT_THAT(cancelled, testing::UnorderedElementsAreArray(submitted));
  WaitUntilIdle();
  EXPECT_EQ(RequestsMetric("Generate", "CANCELLED"), "1");
}

TEST_F(ChoicesTest, OneThatFailsFailsTheCallAndCancelsTheOthers) {
  FakeEngine engine({});
  Start({&engine});
  WaitUntilServing();
  OpenCall call(*stub_, Request(3));
  EXPECT_TRUE(call.Next().has_started());
  const uint64_t first = engine.WaitForSubmit(1).request_id();
  const uint64_t second = engine.WaitForSubmit(2).request_id();
  const uint64_t third = engine.WaitForSubmit(3).request_id();
  engine.Send(FinishedEvent(first, worker::v1::EngineFinished::REASON_EOS));
  EXPECT_TRUE(call.Next().has_finished());
  engine.Send(ErrorEvent(second, absl::InternalError("broken")));
  EXPECT_EQ(call.End().error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(engine.WaitForCancel(), third);
  WaitUntilIdle();
  EXPECT_EQ(RequestsMetric("Generate", "INTERNAL"), "1");
}

// A client that has heard nothing may try again elsewhere.
TEST_F(ChoicesTest, NothingIsToldBeforeAllAreAccepted) {
  FakeEngine engine({.accepts = false});
  Start({&engine});
  WaitUntilServing();
  OpenCall call(*stub_, Request(2));
  const uint64_t first = engine.WaitForSubmit(1).request_id();
  const uint64_t second = engine.WaitForSubmit(2).request_id();
  engine.Send(AcceptedEvent(first));
  engine.Send(TokensEvent(first, {'a'}));
  engine.Send(ErrorEvent(second, absl::ResourceExhaustedError("full")));
  EXPECT_EQ(call.End().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(call.context.GetServerInitialMetadata().empty());
  // The second is cancelled too if it was refused before its sending had returned; that has no
  // effect.
  uint64_t cancelled = engine.WaitForCancel(1);
  if (cancelled == second) cancelled = engine.WaitForCancel(2);
  EXPECT_EQ(cancelled, first);
}

TEST_F(ChoicesTest, AllGoToOneWorkerGroup) {
  FakeEngine first({}, SayScript("a")), second({}, SayScript("a"));
  Start({&first, &second});
  first.WaitForSession(1);
  second.WaitForSession(1);
  WaitUntilServing();
  EXPECT_EQ(Run(Request(4)).size(), 4u);
  EXPECT_EQ(Run(Request(4)).size(), 4u);
  // Whichever took the first call, all of a call's requests have the same group.
  EXPECT_EQ(first.submits() % 4, 0);
  EXPECT_EQ(first.submits() + second.submits(), 8);
}

TEST_F(ChoicesTest, TheNumberIsChecked) {
  Start({});
  for (const int n : {0, -1, 17}) {
    Run(Request(n));
    EXPECT_EQ(status_.error_message(), absl::StrCat("n: ", n, " is not in [1, 16]"));
  }
}

}  // namespace
}  // namespace phalanx
