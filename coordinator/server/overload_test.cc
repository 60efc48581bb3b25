#include <grpcpp/create_channel.h>

#include <future>
#include <string>
#include <thread>
#include <vector>

#include "coordinator/server/testing/server_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;

using OverloadTest = ServerTest;

// Returns the milliseconds of the retry hint, or -1 without one.
int RetryHint(const grpc::ClientContext& context) {
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto hint = trailers.find("grpc-retry-pushback-ms");
  if (hint == trailers.end()) return -1;
  return std::stoi(std::string(hint->second.data(), hint->second.size()));
}

TEST_F(OverloadTest, RefusesRequestsAboveTheLimitWithARetryHint) {
  FakeEngine engine({});
  CoordinatorServer::Options options = DefaultOptions();
  options.max_requests = 1;
  Start({&engine}, options);
  WaitUntilServing();
  grpc::ClientContext running;
  const auto reader = stub_->Generate(&running, TextRequest("hi"));
  v1::GenerateEvent event;
  ASSERT_TRUE(reader->Read(&event));

  grpc::ClientContext context;
  const grpc::Status status = Generate(TextRequest("hi"), &context).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("busy with 1 request, its limit (--max_requests)"));
  EXPECT_GE(RetryHint(context), 500);
  EXPECT_LE(RetryHint(context), 1500);

  grpc::ClientContext tokenize;
  v1::TokenizeRequest request;
  request.set_text("hi");
  v1::TokenizeResponse response;
  EXPECT_EQ(stub_->Tokenize(&tokenize, request, &response).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_GE(RetryHint(tokenize), 500);
  EXPECT_LE(RetryHint(tokenize), 1500);
  EXPECT_EQ(Metric("phalanx_refusals_total{kind=\"busy\"}"), "2");
  running.TryCancel();
  EXPECT_FALSE(reader->Finish().ok());
}

// A worker group knows best when its queue will be shorter.
TEST_F(OverloadTest, PassesTheRetryHintOfAFullWorkerGroupOn) {
  FakeEngine engine({}, [](const worker::v1::Submit&) {
    worker::v1::RequestEvent full = ErrorEvent(0, absl::ResourceExhaustedError("queue full"));
    full.mutable_error()->set_retry_after_seconds(40);
    return std::vector<worker::v1::RequestEvent>{full};
  });
  Start({&engine});
  WaitUntilServing();
  grpc::ClientContext context;
  const grpc::Status status = Generate(TextRequest("hi"), &context).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_GE(RetryHint(context), 40'000);
  EXPECT_LE(RetryHint(context), 50'000);
}

TEST_F(OverloadTest, RefusesPromptsAboveTheQueueOfTheTextPool) {
  FakeEngine engine({}, SayScript("a"));
  CoordinatorServer::Options options = DefaultOptions();
  options.text.threads = 1;
  options.text.max_queued = 1;
  Start({&engine}, options);
  WaitUntilServing();
  // Blocks the thread for all texts, then the one for short ones. One after the other, because the
  // queue would refuse the second while the first is still in it.
  auto blocked = std::async(std::launch::async, [&] { return Generate(TextRequest("block")); });
  text_->WaitUntilBlocked(1);
  auto too = std::async(std::launch::async, [&] { return Generate(TextRequest("block")); });
  text_->WaitUntilBlocked(2);
  // One of these two waits, the other finds the queue full.
  auto first = std::async(std::launch::async, [&] { return Generate(TextRequest("hi")); });
  auto second = std::async(std::launch::async, [&] { return Generate(TextRequest("hi")); });
  std::vector<grpc::StatusCode> codes;
  while (first.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready &&
         second.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready) {
  }
  text_->Release();
  codes = {first.get().status.error_code(), second.get().status.error_code()};
  EXPECT_THAT(codes, ::testing::UnorderedElementsAre(grpc::StatusCode::OK,
                                                     grpc::StatusCode::RESOURCE_EXHAUSTED));
  EXPECT_TRUE(blocked.get().status.ok());
  EXPECT_TRUE(too.get().status.ok());
  EXPECT_EQ(Metric("phalanx_refusals_total{kind=\"text_queue_full\"}"), "1");
}

TEST_F(OverloadTest, ACallCancelledWhileItWaitsForTextNeverReachesAnEngine) {
  FakeEngine engine({}, SayScript("a"));
  Start({&engine});
  WaitUntilServing();
  grpc::ClientContext context;
  auto reader = stub_->Generate(&context, TextRequest("block"));
  text_->WaitUntilBlocked(1);
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  text_->Release();
  WaitUntilIdle();
  EXPECT_EQ(Metric("phalanx_requests_waiting"), "0");
  EXPECT_EQ(Metric("phalanx_requests_running"), "0");
}

class SlowReaderTest : public ServerTest {
 protected:
  // A call whose client does not read.
  void StartCall(FakeEngine& engine) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1 << 14);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    slow_stub_ = v1::Inference::NewStub(grpc::CreateCustomChannel(
        server_->address(), grpc::InsecureChannelCredentials(), arguments));
    reader_ = slow_stub_->Generate(&context_, TextRequest("hi"));
    id_ = engine.WaitForSubmit().request_id();
  }

  // Sends tokens until the coordinator gives up.
  void PileUp(FakeEngine& engine) {
    auto cancelled = std::async(std::launch::async, [&] { return engine.WaitForCancel(); });
    while (cancelled.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready) {
      if (bytes_sent_ < max_bytes_) engine.Send(TokensEvent(id_, some_tokens_));
      bytes_sent_ += static_cast<int64_t>(some_tokens_.size());
    }
    EXPECT_EQ(cancelled.get(), id_);
  }

  // What a client that reads at last sees of a call that has ended for the server.
  grpc::Status ReadOn() {
    while (server_->requests_in_flight() > 0) std::this_thread::yield();
    v1::GenerateEvent event;
    while (reader_->Read(&event)) EXPECT_FALSE(event.has_finished());
    return reader_->Finish();
  }

  // Answers may be as long as a test likes.
  static constexpr int kLongContext = 1 << 30;

  const std::vector<int32_t> some_tokens_ = std::vector<int32_t>(16384, 'a');
  int64_t bytes_sent_ = 0;
  int64_t max_bytes_ = int64_t{64} << 20;
  std::unique_ptr<v1::Inference::Stub> slow_stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateEvent>> reader_;
  uint64_t id_ = 0;
};

TEST_F(SlowReaderTest, LosesItsRequestWhenTheAnswerPilesUp) {
  FakeEngine engine({.context_tokens = kLongContext});
  CoordinatorServer::Options options = DefaultOptions();
  options.limits.context_tokens = kLongContext;
  options.answer.max_buffered_bytes = 100'000;
  Start({&engine}, options);
  WaitUntilServing();
  StartCall(engine);
  PileUp(engine);
  EXPECT_LT(bytes_sent_, max_bytes_);
  const grpc::Status status = ReadOn();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(),
            "the client left more than 100000 bytes of its answer unread, the limit");
  EXPECT_EQ(RequestsMetric("Generate", "RESOURCE_EXHAUSTED"), "1");
}

TEST_F(SlowReaderTest, LosesItsRequestWhenItReadsNothingForTheStallTimeout) {
  FakeEngine engine({.context_tokens = kLongContext});
  CoordinatorServer::Options options = DefaultOptions();
  options.limits.context_tokens = kLongContext;
  options.answer.stall_timeout = absl::Milliseconds(100);
  options.answer.max_buffered_bytes = int64_t{1} << 40;
  Start({&engine}, options);
  WaitUntilServing();
  StartCall(engine);
  PileUp(engine);
  const grpc::Status status = ReadOn();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(),
            "the client read nothing for 100ms, the limit (--stall_timeout)");
  EXPECT_EQ(RequestsMetric("Generate", "RESOURCE_EXHAUSTED"), "1");
}

// The engine has long been done; only the client has not taken the whole answer.
TEST_F(SlowReaderTest, AnAnswerWhoseEndNobodyReadsIsNotCountedAsOk) {
  FakeEngine engine({.context_tokens = kLongContext});
  CoordinatorServer::Options options = DefaultOptions();
  options.limits.context_tokens = kLongContext;
  options.answer.stall_timeout = absl::Milliseconds(500);
  options.answer.max_buffered_bytes = int64_t{1} << 40;
  Start({&engine}, options);
  WaitUntilServing();
  StartCall(engine);
  for (int i = 0; i < 64; ++i) engine.Send(TokensEvent(id_, some_tokens_));
  engine.Send(FinishedEvent(id_, worker::v1::EngineFinished::REASON_LENGTH));
  const grpc::Status status = ReadOn();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(RequestsMetric("Generate", "OK"), "0");
  EXPECT_EQ(RequestsMetric("Generate", "RESOURCE_EXHAUSTED"), "1");
}

}  // namespace
}  // namespace phalanx
