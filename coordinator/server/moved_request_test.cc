// Calls whose worker group refuses them, or is lost, before the first token.
#include <grpcpp/create_channel.h>

#include <atomic>
#include <future>
#include <thread>
#include <vector>

#include "coordinator/server/testing/server_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const absl::Status kFull = absl::ResourceExhaustedError("1 requests wait already");

FakeEngine::Script RefuseScript(const absl::Status& status) {
  return [status](const worker::v1::Submit&) { return std::vector{ErrorEvent(0, status)}; };
}

class MovedRequestTest : public ServerTest {
 protected:
  void WaitForGroups(const std::string& count) {
    while (Metric("phalanx_worker_groups{state=\"serving\"}") != count) std::this_thread::yield();
  }
  std::string Moved(const std::string& reason) {
    return Metric("phalanx_requests_moved_total{reason=\"" + reason + "\"}");
  }
};

TEST_F(MovedRequestTest, NothingIsSentBeforeAGroupAccepts) {
  FakeEngine engine({.accepts = false});
  Start({&engine});
  WaitUntilServing();
  for (const bool accepts : {true, false}) {
    grpc::ClientContext context;
    const auto reader = stub_->Generate(&context, TextRequest("hi"));
    const uint64_t id = engine.WaitForSubmit(accepts ? 1 : 2).request_id();
    EXPECT_EQ(Metric("phalanx_requests_running"), "0");
    EXPECT_EQ(Metric("phalanx_requests_waiting"), "1");
    engine.Send(accepts ? AcceptedEvent(id) : ErrorEvent(id, kFull));
    v1::GenerateEvent event;
    ASSERT_EQ(reader->Read(&event), accepts);
    if (!accepts) {
      EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
      continue;
    }
    EXPECT_TRUE(event.has_started());
    // It may wait in the group's own queue.
    EXPECT_EQ(Metric("phalanx_requests_running"), "0");
    EXPECT_EQ(Metric("phalanx_requests_waiting"), "1");
    engine.Send(StartedEvent(id));
    while (Metric("phalanx_requests_running") != "1") std::this_thread::yield();
    EXPECT_EQ(Metric("phalanx_requests_waiting"), "0");
    context.TryCancel();
    EXPECT_FALSE(reader->Finish().ok());
    EXPECT_EQ(engine.WaitForCancel(), id);
  }
}

// Initial metadata would commit the call: gRPC's own retries need an answer that is all trailers.
TEST_F(MovedRequestTest, AClientCanRetryARefusedCallByGrpcsOwnMeans) {
  std::atomic<int> submits = 0;
  FakeEngine engine({}, [&](const worker::v1::Submit& submit) {
    return ++submits == 1 ? RefuseScript(kFull)(submit) : SayScript("yes")(submit);
  });
  Start({&engine});
  WaitUntilServing();
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(R"({"methodConfig": [{
      "name": [{"service": "phalanx.v1.Inference"}],
      "retryPolicy": {"maxAttempts": 3, "initialBackoff": "0.01s", "maxBackoff": "0.01s",
                      "backoffMultiplier": 1, "retryableStatusCodes": ["RESOURCE_EXHAUSTED"]}}]})");
  stub_ = v1::Inference::NewStub(
      grpc::CreateCustomChannel(server_->address(), grpc::InsecureChannelCredentials(), arguments));
  const Answer answer = Generate(TextRequest("hi"));
  EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.text, "yes");
  EXPECT_EQ(submits, 2);
}

TEST_F(MovedRequestTest, AllOfManyCallsAreAnsweredBesideAGroupThatIsFull) {
  FakeEngine full({}, RefuseScript(kFull)), idle({}, SayScript("yes"));
  Start({&full, &idle});
  WaitForGroups("2");
  std::vector<std::future<Answer>> answers;
  for (int i = 0; i < 10; ++i) {
    answers.push_back(
        std::async(std::launch::async, [this] { return Generate(TextRequest("hi")); }));
  }
  for (auto& future : answers) {
    const Answer answer = future.get();
    EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
    EXPECT_TRUE(answer.in_order);
    EXPECT_EQ(answer.text, "yes");
  }
  EXPECT_NE(Moved("queue_full"), "0");
}

TEST_F(MovedRequestTest, AGroupThatDrainsBeforeItsHealthIsKnownCostsNothing) {
  FakeEngine draining({}, RefuseScript(absl::UnavailableError("the worker is draining")));
  FakeEngine idle({}, SayScript("yes"));
  Start({&draining, &idle});
  WaitForGroups("2");
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Generate(TextRequest("hi")).status.ok());
  EXPECT_NE(Moved("draining"), "0");
}

TEST_F(MovedRequestTest, AGroupLostBeforeTheFirstTokenCostsNothing) {
  // The group that is asked first accepts and says no more.
  std::atomic<FakeEngine*> silent = nullptr;
  std::vector<std::unique_ptr<FakeEngine>> engines(2);
  for (auto& engine : engines) {
    engine =
        std::make_unique<FakeEngine>(FakeEngine::Options{}, [&](const worker::v1::Submit& submit) {
          FakeEngine* nobody = nullptr;
          if (silent.compare_exchange_strong(nobody, engine.get())) {
            return std::vector<worker::v1::RequestEvent>();
          }
          return SayScript("yes")(submit);
        });
  }
  Start({engines[0].get(), engines[1].get()});
  WaitForGroups("2");
  grpc::ClientContext context;
  const auto reader = stub_->Generate(&context, TextRequest("hi"));
  v1::GenerateEvent event;
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_TRUE(event.has_started());
  silent.load()->EndSessions(absl::UnavailableError("rank 1 died"));
  std::string text;
  while (reader->Read(&event)) {
    EXPECT_FALSE(event.has_started()) << "a second time";
    text += event.delta().text();
  }
  const grpc::Status status = reader->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(text, "yes");
  EXPECT_EQ(Moved("lost"), "1");
  WaitUntilIdle();
  EXPECT_EQ(Metric("phalanx_prompt_tokens_total"), "2");
}

TEST_F(MovedRequestTest, AScoreMovesToo) {
  FakeEngine full({}, RefuseScript(kFull));
  FakeEngine idle({}, [](const worker::v1::Submit& submit) {
    return std::vector{
        LogProbsEvent(submit.request_id(), {-1.0f}),
        FinishedEvent(submit.request_id(), worker::v1::EngineFinished::REASON_SCORED)};
  });
  Start({&full, &idle});
  WaitForGroups("2");
  for (int i = 0; i < 3; ++i) {
    grpc::ClientContext context;
    v1::ScoreRequest request;
    request.set_text("hi");
    const auto reader = stub_->Score(&context, request);
    v1::ScoreEvent event;
    std::vector<v1::ScoreEvent> events;
    while (reader->Read(&event)) events.push_back(event);
    EXPECT_TRUE(reader->Finish().ok());
    ASSERT_EQ(events.size(), 3u);
    EXPECT_TRUE(events[0].has_started());
    EXPECT_TRUE(events[2].has_finished());
  }
  EXPECT_NE(Moved("queue_full"), "0");
}

TEST_F(MovedRequestTest, WhenEveryGroupIsFullTheClientHearsTheLimitAndNoAddress) {
  FakeEngine first({}, RefuseScript(kFull)), second({}, RefuseScript(kFull));
  Start({&first, &second});
  WaitForGroups("2");
  const Answer answer = Generate(TextRequest("hi"));
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(answer.status.error_message(), kFull.message());
  EXPECT_THAT(answer.status.error_message(), Not(HasSubstr("127.0.0.1")));
  EXPECT_EQ(answer.started.request_id(), "");
  first.WaitForSubmit(1);
  second.WaitForSubmit(1);
}

}  // namespace
}  // namespace phalanx
