#include "worker/server/worker_server.h"

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "gtest/gtest.h"
#include "worker/server/testing/worker_server_fixture.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using worker::v1::RequestEvent;

TEST_F(WorkerServerTest, SessionsWaitUntilThereIsSomethingToAnnounce) {
  Listen({.address = {"127.0.0.1", 0}, .registry = &registry_});
  SessionPeer waiting;
  waiting.stream = worker::v1::Engine::NewStub(channel_)->Session(&waiting.context);
  SessionPeer leaving;
  leaving.stream = worker::v1::Engine::NewStub(channel_)->Session(&leaving.context);
  // Commands are not read before the greeting, and not lost.
  EXPECT_TRUE(waiting.stream->Write(Submit(1, 3)));
  leaving.context.TryCancel();
  EXPECT_EQ(leaving.Finish().error_code(), grpc::StatusCode::CANCELLED);
  Announce();
  EXPECT_EQ(waiting.Read().hello().weights_digest(), "cafe");
  EXPECT_EQ(ReadToEnd(waiting, 1).token_ids_size(), 3);
}

TEST_F(WorkerServerTest, AServerThatNeverAnnouncesEndsItsSessions) {
  Listen({.address = {"127.0.0.1", 0}, .registry = &registry_});
  SessionPeer waiting;
  waiting.stream = worker::v1::Engine::NewStub(channel_)->Session(&waiting.context);
  server_.reset();
  EXPECT_FALSE(waiting.Finish().ok());
}

TEST_F(WorkerServerTest, AFailingExecutorEndsRequestsThenStreams) {
  const std::unique_ptr<SessionPeer> peer = Connect();
  executor_.FailWith(absl::UnavailableError("rank 1 is gone"));
  ASSERT_TRUE(peer->stream->Write(Submit(1, 5)));
  const RequestEvent answer = ReadToEnd(*peer, 1);
  EXPECT_EQ(answer.error().code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(answer.error().message(), "rank 1 is gone");
  const grpc::Status status = peer->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "rank 1 is gone");
  SessionPeer late;
  late.stream = worker::v1::Engine::NewStub(channel_)->Session(&late.context);
  EXPECT_EQ(late.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(WorkerServerTest, StoppedEngineAndShutdownEndOpenSessions) {
  const std::unique_ptr<SessionPeer> peer = Connect();
  engine_.Stop();
  server_->Shutdown(absl::Seconds(60));
  EXPECT_EQ(peer->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  server_->Shutdown(absl::Seconds(60));
}

TEST_F(WorkerServerTest, ShutdownBreaksOffSessionsAfterTheGrace) {
  const std::unique_ptr<SessionPeer> peer = Connect();
  ASSERT_TRUE(peer->stream->Write(Submit(1, 50000)));
  server_->Shutdown(absl::ZeroDuration());
  EXPECT_FALSE(peer->Finish().ok());
  WaitUntilIdle();
}

TEST_F(WorkerServerTest, HealthSaysWhatSetServingSaid) {
  const auto stub = grpc::health::v1::Health::NewStub(channel_);
  const auto check = [&stub](const std::string& service) {
    grpc::ClientContext context;
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    grpc::health::v1::HealthCheckResponse response;
    EXPECT_TRUE(stub->Check(&context, request, &response).ok());
    return response.status();
  };
  using grpc::health::v1::HealthCheckResponse;
  for (const std::string service : {"", "phalanx.worker.v1.Engine"}) {
    EXPECT_EQ(check(service), HealthCheckResponse::NOT_SERVING);
    server_->SetServing(true);
    EXPECT_EQ(check(service), HealthCheckResponse::SERVING);
    server_->SetServing(false);
  }
  EXPECT_EQ(check("liveness"), HealthCheckResponse::SERVING);
}

TEST_F(WorkerServerTest, APortInUseIsAnErrorThatNamesIt) {
  const HostPort address{"127.0.0.1", server_->port()};
  const absl::Status status =
      WorkerServer::Start({.address = address, .registry = &registry_}, &engine_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(address.ToString()));
}

}  // namespace
}  // namespace phalanx
