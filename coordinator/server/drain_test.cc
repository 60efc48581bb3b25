// How a coordinator leaves: lame duck, GOAWAY, the last calls.
#include <grpcpp/channel.h>

#include <future>
#include <string>

#include "coordinator/server/testing/server_fixture.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::grpc::health::v1::HealthCheckResponse;

constexpr auto kEos = worker::v1::EngineFinished::REASON_EOS;

class DrainTest : public ServerTest {
 protected:
  // A call whose Started has come, and that goes on until the engine says more.
  void OpenStream(FakeEngine& engine) {
    reader_ = stub_->Generate(&context_, TextRequest("hi"));
    v1::GenerateEvent event;
    ASSERT_TRUE(reader_->Read(&event));
    EXPECT_TRUE(event.has_started());
    id_ = engine.WaitForSubmit().request_id();
  }

  // The text that the call gets after this.
  std::string ReadToEnd() {
    std::string text;
    v1::GenerateEvent event;
    while (reader_->Read(&event)) text += event.delta().text();
    return text;
  }

  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateEvent>> reader_;
  uint64_t id_ = 0;
};

TEST_F(DrainTest, ALameDuckIsNotServingAndAnswersAllTheSame) {
  FakeEngine engine({}, SayScript("yes"));
  Start({&engine});
  WaitUntilServing();
  server_->BeginLameDuck();
  WaitForHealth(HealthCheckResponse::NOT_SERVING);
  WaitForHealth(HealthCheckResponse::NOT_SERVING, "tiny");
  EXPECT_EQ(Generate(TextRequest("hi")).text, "yes");
  // A call on a new connection is answered too.
  channel_ = NewChannel();
  stub_ = v1::Inference::NewStub(channel_);
  EXPECT_EQ(Generate(TextRequest("hi")).text, "yes");
  // A group that comes or goes does not make it serve again.
  engine.SetServing(false);
  engine.SetServing(true);
  WaitForHealth(HealthCheckResponse::NOT_SERVING);
}

TEST_F(DrainTest, ADrainSendsClientsAwayAndFinishesWhatRuns) {
  FakeEngine engine({});
  Start({&engine});
  WaitUntilServing();
  OpenStream(engine);
  std::promise<void> idle;
  server_->Drain([&] { idle.set_value(); });
  // GOAWAY: the client leaves the connection to the stream that is on it.
  ASSERT_EQ(channel_->GetState(false), GRPC_CHANNEL_READY);
  ASSERT_TRUE(channel_->WaitForStateChange(
      GRPC_CHANNEL_READY, std::chrono::system_clock::now() + std::chrono::seconds(30)));
  EXPECT_EQ(server_->requests_in_flight(), 1);
  const grpc::Status refused = Generate(TextRequest("late")).status;
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);

  engine.Send(TokensEvent(id_, {'a'}));
  engine.Send(FinishedEvent(id_, kEos));
  EXPECT_EQ(ReadToEnd(), "a");
  EXPECT_TRUE(reader_->Finish().ok());
  idle.get_future().wait();
}

TEST_F(DrainTest, ADrainThatIsBrokenOffEndsWhatRuns) {
  FakeEngine engine({});
  Start({&engine});
  WaitUntilServing();
  OpenStream(engine);
  server_->Drain([] {});
  StopServer();
  ReadToEnd();
  const grpc::Status status = reader_->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "the server is shutting down");
}

TEST_F(DrainTest, AnIdleServerIsDrainedAtOnce) {
  FakeEngine engine({});
  Start({&engine});
  WaitUntilServing();
  std::promise<void> idle;
  server_->BeginLameDuck();
  server_->Drain([&] { idle.set_value(); });
  idle.get_future().wait();
}

}  // namespace
}  // namespace phalanx
