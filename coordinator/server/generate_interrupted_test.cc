// Calls that end before their answer is finished, or before it begins: the client goes, its
// deadline passes, the worker group fails, there is no group.

#include <arpa/inet.h>
#include <fcntl.h>
#include <grpcpp/create_channel_posix.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/log.h"
#include "coordinator/server/testing/server_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::grpc::health::v1::HealthCheckResponse;
using ::testing::HasSubstr;

using GenerateInterruptedTest = ServerTest;

// A client's connection that can end as if the client's machine had: its HTTP/2 has no chance to
// say that the call is cancelled.
class SeverableConnection {
 public:
  explicit SeverableConnection(const std::string& address) {
    const std::pair<std::string, std::string> host_port =
        absl::StrSplit(address, absl::MaxSplits(':', 1));
    int port = 0;
    CHECK(absl::SimpleAtoi(host_port.second, &port));
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(port));
    CHECK(inet_pton(AF_INET, host_port.first.c_str(), &to.sin_addr) == 1);
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0);
    const int channels_fd = dup(fd_);
    CHECK(fcntl(channels_fd, F_SETFL, O_NONBLOCK) == 0);
    channel_ = grpc::CreateInsecureChannelFromFd("severable", channels_fd);
  }
  SeverableConnection(const SeverableConnection&) = delete;
  SeverableConnection& operator=(const SeverableConnection&) = delete;
  ~SeverableConnection() { close(fd_); }

  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  void Sever() { CHECK(shutdown(fd_, SHUT_RDWR) == 0); }

 private:
  int fd_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(GenerateInterruptedTest, ACancelledCallIsCancelledInTheEngine) {
  FakeEngine engine({});
  Start({&engine});
  WaitUntilServing();
  OpenCall call(*stub_, TextRequest("hi"));
  EXPECT_TRUE(call.Next().has_started());
  const uint64_t id = engine.WaitForSubmit().request_id();
  engine.Send(TokensEvent(id, {'a'}));
  EXPECT_EQ(call.Next().delta().text(), "a");
  EXPECT_EQ(Metric("phalanx_requests_running"), "1");
  call.context.TryCancel();
  EXPECT_EQ(engine.WaitForCancel(), id);
  EXPECT_EQ(call.End().error_code(), grpc::StatusCode::CANCELLED);
  WaitUntilIdle();
  EXPECT_EQ(Metric("phalanx_requests_running"), "0");
  EXPECT_EQ(RequestsMetric("Generate", "CANCELLED"), "1");
}

TEST_F(GenerateInterruptedTest, AVanishedClientIsCancelledInTheEngine) {
  FakeEngine engine({});
  Start({&engine});
  WaitUntilServing();
  SeverableConnection connection(server_->address());
  const auto stub = v1::Inference::NewStub(connection.channel());
  OpenCall call(*stub, TextRequest("hi"));
  const uint64_t id = engine.WaitForSubmit().request_id();
  engine.Send(TokensEvent(id, {'a'}));
  EXPECT_TRUE(call.Next().has_started());
  EXPECT_EQ(call.Next().delta().text(), "a");
  connection.Sever();
  EXPECT_EQ(engine.WaitForCancel(), id);
  WaitUntilIdle();
  EXPECT_EQ(RequestsMetric("Generate", "CANCELLED"), "1");
}

TEST_F(GenerateInterruptedTest, TheDeadlineTravelsAndEndsTheWork) {
  FakeEngine engine({});
  Start({&engine});
  WaitUntilServing();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(300));
  const Answer answer = Generate(TextRequest("hi"), &context);
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  const worker::v1::Submit submit = engine.WaitForSubmit();
  EXPECT_GT(submit.deadline_seconds(), 0.0);
  // gRPC rounds timeouts up on the wire.
  EXPECT_LE(submit.deadline_seconds(), 0.4);
  EXPECT_EQ(engine.WaitForCancel(), submit.request_id());
  WaitUntilIdle();
  EXPECT_EQ(RequestsMetric("Generate", "DEADLINE_EXCEEDED"), "1");
}

TEST_F(GenerateInterruptedTest, WithoutDeadlineTheEngineIsToldNone) {
  FakeEngine engine({}, SayScript("a"));
  Start({&engine});
  WaitUntilServing();
  grpc::ClientContext context;
  EXPECT_TRUE(Generate(TextRequest("hi"), &context).status.ok());
  EXPECT_EQ(engine.WaitForSubmit().deadline_seconds(), 0.0);
}

TEST_F(GenerateInterruptedTest, ALostWorkerGroupIsUnavailable) {
  FakeEngine engine({});
  Start({&engine});
  WaitUntilServing();
  OpenCall call(*stub_, TextRequest("hi"));
  EXPECT_TRUE(call.Next().has_started());
  const uint64_t id = engine.WaitForSubmit().request_id();
  engine.Send(TokensEvent(id, {'a'}));
  EXPECT_EQ(call.Next().delta().text(), "a");
  engine.EndSessions(absl::UnavailableError("rank 1 died"));
  const grpc::Status status = call.End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("the worker group that had the request was lost"));
}

TEST_F(GenerateInterruptedTest, PassesTheEnginesErrorOn) {
  FakeEngine engine({}, [](const worker::v1::Submit&) {
    worker::v1::RequestEvent event;
    event.mutable_error()->set_code(static_cast<int>(absl::StatusCode::kResourceExhausted));
    event.mutable_error()->set_message("the engine's queue is full");
    return std::vector<worker::v1::RequestEvent>{event};
  });
  Start({&engine});
  WaitUntilServing();
  grpc::ClientContext context;
  const grpc::Status status = Generate(TextRequest("hi"), &context).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(), "the engine's queue is full");
  EXPECT_EQ(Metric("phalanx_refusals_total{kind=\"queue_full\"}"), "1");
  EXPECT_EQ(context.GetServerTrailingMetadata().count("grpc-retry-pushback-ms"), 1u);
}

TEST_F(GenerateInterruptedTest, WithoutWorkerGroupItIsUnavailable) {
  Start({});
  const grpc::Status status = Generate(TextRequest("hi")).status;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("no worker group"));
  EXPECT_EQ(Metric("phalanx_refusals_total{kind=\"no_worker_group\"}"), "1");
  WaitForHealth(HealthCheckResponse::NOT_SERVING);
  WaitForHealth(HealthCheckResponse::NOT_SERVING, "tiny");
}

TEST_F(GenerateInterruptedTest, AGroupWithAnotherModelIsNotUsed) {
  FakeEngine other({.fingerprint = "beef"});
  FakeEngine engine({}, SayScript("a"));
  Start({&other, &engine});
  WaitUntilServing();
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(Generate(TextRequest("hi")).status.ok());
}

TEST_F(GenerateInterruptedTest, HealthFollowsTheGroups) {
  FakeEngine engine({});
  Start({&engine});
  WaitForHealth(HealthCheckResponse::SERVING, "tiny");
  engine.SetServing(false);
  WaitForHealth(HealthCheckResponse::NOT_SERVING, "tiny");
  WaitForHealth(HealthCheckResponse::NOT_SERVING);
  engine.SetServing(true);
  WaitForHealth(HealthCheckResponse::SERVING);
}

TEST_F(GenerateInterruptedTest, DestroyingTheServerEndsWhatRuns) {
  FakeEngine engine({});
  Start({&engine});
  WaitUntilServing();
  OpenCall call(*stub_, TextRequest("hi"));
  EXPECT_TRUE(call.Next().has_started());
  StopServer();
  const grpc::Status status = call.End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("the server is shutting down"));
}

}  // namespace
}  // namespace phalanx
