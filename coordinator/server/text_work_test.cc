// Text that nobody wants any more, and texts that hold up others.
#include <future>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "coordinator/server/testing/server_fixture.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

constexpr std::chrono::seconds kPatience(30);

class TextWorkTest : public ServerTest {
 protected:
  // A Tokenize call under way.
  struct Call {
    grpc::ClientContext context;
    v1::TokenizeRequest request;
    v1::TokenizeResponse response;
    std::promise<grpc::Status> status;
  };

  void StartWithOneThread(const FakeEngine& engine) {
    CoordinatorServer::Options options = DefaultOptions();
    options.text = {.threads = 1, .max_queued = 100, .long_text_bytes = 100};
    Start({&engine}, options);
    WaitUntilServing();
  }

  Call& Tokenize(const std::string& text) {
    Call& call = calls_.emplace_back();
    call.context.set_deadline(std::chrono::system_clock::now() + kPatience);
    call.request.set_text(text);
    stub_->async()->Tokenize(
        &call.context, &call.request, &call.response,
        [&call](const grpc::Status& status) { call.status.set_value(status); });
    return call;
  }

  // Both threads of StartWithOneThread: the one for all texts and the one for short ones.
  void BlockAllThreads() {
    Tokenize("block");
    Tokenize("block");
    text_->WaitUntilBlocked(2);
  }

  void WaitForRequests(int count) {
    while (server_->requests_in_flight() != count) std::this_thread::yield();
  }

  void TearDown() override {
    StopServer();
    for (Call& call : calls_) call.status.get_future().wait();
  }

  std::list<Call> calls_;
};

TEST_F(TextWorkTest, ACancelledCallInTheQueueEndsThereAndCostsNoWork) {
  FakeEngine engine({}, SayScript("a"));
  StartWithOneThread(engine);
  BlockAllThreads();
  std::vector<Call*> cancelled;
  for (int i = 0; i < 20; ++i) cancelled.push_back(&Tokenize("hi"));
  v1::DetokenizeRequest request;
  request.add_token_ids('a');
  v1::DetokenizeResponse response;
  grpc::ClientContext detokenize;
  std::promise<void> ended;
  stub_->async()->Detokenize(&detokenize, &request, &response,
                             [&](const grpc::Status&) { ended.set_value(); });
  WaitForRequests(23);
  for (Call* call : cancelled) call->context.TryCancel();
  detokenize.TryCancel();
  // They leave though no thread is free to take them.
  WaitForRequests(2);
  ended.get_future().wait();
  EXPECT_EQ(text_->texts(), 2);
  text_->Release();
  WaitForRequests(0);
  EXPECT_EQ(text_->texts(), 2);
  EXPECT_EQ(RequestsMetric("Tokenize", "CANCELLED"), "20");
  EXPECT_EQ(RequestsMetric("Tokenize", "OK"), "2");
  EXPECT_EQ(RequestsMetric("Detokenize", "CANCELLED"), "1");
}

TEST_F(TextWorkTest, AnExpiredCallInTheQueueEndsThereAndCostsNoWork) {
  FakeEngine engine({}, SayScript("a"));
  StartWithOneThread(engine);
  BlockAllThreads();
  grpc::ClientContext context;
  // Long enough to arrive on a busy machine.
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(1));
  v1::TokenizeRequest request;
  request.set_text("hi");
  v1::TokenizeResponse response;
  EXPECT_EQ(stub_->Tokenize(&context, request, &response).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  WaitForRequests(2);
  text_->Release();
  WaitForRequests(0);
  EXPECT_EQ(text_->texts(), 2);
  EXPECT_EQ(RequestsMetric("Tokenize", "DEADLINE_EXCEEDED"), "1");
  EXPECT_EQ(RequestsMetric("Tokenize", "OK"), "2");
}

TEST_F(TextWorkTest, ACancelledPromptInTheQueueIsForgotten) {
  FakeEngine engine({}, SayScript("a"));
  StartWithOneThread(engine);
  BlockAllThreads();
  grpc::ClientContext generate, score;
  const auto answer = stub_->Generate(&generate, TextRequest("hi"));
  v1::ScoreRequest request;
  request.set_text("hi");
  const auto scores = stub_->Score(&score, request);
  WaitForRequests(4);
  generate.TryCancel();
  score.TryCancel();
  WaitForRequests(2);
  EXPECT_EQ(answer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(scores->Finish().error_code(), grpc::StatusCode::CANCELLED);
  text_->Release();
  WaitForRequests(0);
  EXPECT_EQ(text_->texts(), 2);
}

TEST_F(TextWorkTest, LongWorkUnderWayEndsWhenItsCallIsCancelled) {
  FakeEngine engine({}, SayScript("a"));
  StartWithOneThread(engine);
  Call& tokenize = Tokenize("endless");
  grpc::ClientContext generate;
  const auto answer = stub_->Generate(&generate, TextRequest("endless"));
  text_->WaitUntilBlocked(2);
  tokenize.context.TryCancel();
  generate.TryCancel();
  WaitForRequests(0);
  EXPECT_EQ(answer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(RequestsMetric("Tokenize", "CANCELLED"), "1");
  EXPECT_EQ(RequestsMetric("Generate", "CANCELLED"), "1");
  // The threads are free again.
  EXPECT_TRUE(Generate(TextRequest("hi")).status.ok());
}

TEST_F(TextWorkTest, ALongTextHoldsUpNoShortOne) {
  FakeEngine engine({}, SayScript("a"));
  StartWithOneThread(engine);
  Tokenize("block" + std::string(100, ' '));
  text_->WaitUntilBlocked(1);
  Tokenize("block" + std::string(100, ' '));
  EXPECT_TRUE(Generate(TextRequest("hi")).status.ok());
  text_->Release();
}

TEST_F(TextWorkTest, TheServerEndsWhileATextIsWorkedOn) {
  FakeEngine engine({}, SayScript("a"));
  StartWithOneThread(engine);
  Call& running = Tokenize("endless");
  text_->WaitUntilBlocked(1);
  StopServer();
  EXPECT_FALSE(running.status.get_future().get().ok());
  calls_.clear();
}

}  // namespace
}  // namespace phalanx
