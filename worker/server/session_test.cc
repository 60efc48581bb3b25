#include "worker/server/session.h"

#include <cmath>
#include <memory>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/server/testing/worker_server_fixture.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using worker::v1::RequestEvent;
using worker::v1::SessionRequest;
using worker::v1::SessionResponse;

using SessionTest = WorkerServerTest;

TEST_F(SessionTest, GreetsThenStreamsTokens) {
  SessionPeer peer;
  peer.stream = worker::v1::Engine::NewStub(channel_)->Session(&peer.context);
  const worker::v1::Hello hello = peer.Read().hello();
  EXPECT_EQ(hello.model_fingerprint(), "f00d");
  EXPECT_EQ(hello.context_tokens(), kContext);
  EXPECT_EQ(hello.world(), 2);
  EXPECT_EQ(hello.total_kv_blocks(), kLimits.kv_blocks);
  EXPECT_EQ(hello.kv_block_tokens(), 16);
  EXPECT_EQ(hello.weights_digest(), "cafe");
  EXPECT_THAT(hello.features(), ::testing::ElementsAre("constraint", "score"));
  EXPECT_EQ(hello.determinism(), worker::v1::DETERMINISM_FAST);

  ASSERT_TRUE(peer.stream->Write(Submit(3, 20)));
  const RequestEvent answer = ReadToEnd(peer, 3);
  EXPECT_EQ(std::vector<int32_t>(answer.token_ids().begin(), answer.token_ids().end()),
            executor_.Continuation({7}, 20));
  EXPECT_EQ(answer.finished().reason(), worker::v1::EngineFinished::REASON_LENGTH);
  peer.context.TryCancel();
  EXPECT_EQ(peer.Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(SessionTest, SaysAtOnceThatItHasTakenARequestIn) {
  const std::unique_ptr<SessionPeer> peer = Connect();
  // No step ends, so what comes now has not waited for one.
  Pause(true);
  ASSERT_TRUE(peer->stream->Write(Submit(1, 5)));
  const SessionResponse response = peer->Read();
  ASSERT_EQ(response.step().requests_size(), 1);
  EXPECT_EQ(response.step().requests(0).request_id(), 1u);
  EXPECT_TRUE(response.step().requests(0).accepted());
  EXPECT_EQ(response.step().load().waiting_requests() + response.step().load().running_requests(),
            1);
  Pause(false);
  EXPECT_EQ(ReadToEnd(*peer, 1).token_ids_size(), 5);
  // A refusal comes without an acceptance.
  ASSERT_TRUE(peer->stream->Write(Submit(2, -1)));
  const RequestEvent refusal = ReadToEnd(*peer, 2);
  EXPECT_TRUE(refusal.has_error());
  EXPECT_FALSE(refusal.accepted());
}

TEST_F(SessionTest, RefusesBadFieldsByNameAndGoesOn) {
  const std::unique_ptr<SessionPeer> peer = Connect();
  SessionRequest bad = Submit(1, 5);
  bad.mutable_submit()->set_temperature(std::nanf(""));
  ASSERT_TRUE(peer->stream->Write(bad));
  const RequestEvent refusal = ReadToEnd(*peer, 1);
  EXPECT_EQ(refusal.error().code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(refusal.error().message(), HasSubstr("temperature"));
  bad.mutable_submit()->set_temperature(0);
  bad.mutable_submit()->set_deadline_seconds(-1);
  ASSERT_TRUE(peer->stream->Write(bad));
  EXPECT_THAT(ReadToEnd(*peer, 1).error().message(), HasSubstr("deadline_seconds"));
  ASSERT_TRUE(peer->stream->Write(Submit(1, 5)));
  EXPECT_TRUE(ReadToEnd(*peer, 1).has_finished());
}

TEST_F(SessionTest, RefusesAnIdInUse) {
  const std::unique_ptr<SessionPeer> peer = Connect();
  Pause(true);
  ASSERT_TRUE(peer->stream->Write(Submit(1, 5)));
  ASSERT_TRUE(peer->stream->Write(Submit(1, 5)));
  EXPECT_THAT(ReadToEnd(*peer, 1).error().message(), HasSubstr("request_id 1 is in use"));
  Pause(false);
  EXPECT_EQ(ReadToEnd(*peer, 1).token_ids_size(), 5) << "the first one goes on";
}

TEST_F(SessionTest, CancelStopsARequest) {
  const std::unique_ptr<SessionPeer> peer = Connect();
  ASSERT_TRUE(peer->stream->Write(Submit(1, 50000)));
  peer->Read();
  SessionRequest cancel;
  cancel.mutable_cancel()->set_request_id(1);
  ASSERT_TRUE(peer->stream->Write(cancel));
  ASSERT_TRUE(peer->stream->Write(Submit(2, 5)));
  EXPECT_TRUE(ReadToEnd(*peer, 2).has_finished());
  WaitUntilIdle();
  EXPECT_LT(executor_.steps(), 50000);
}

TEST_F(SessionTest, APeerThatGoesAwayTakesItsRequestsWithIt) {
  const std::unique_ptr<SessionPeer> peer = Connect();
  ASSERT_TRUE(peer->stream->Write(Submit(1, 50000)));
  ASSERT_TRUE(peer->stream->Write(Submit(2, 50000)));
  peer->Read();
  peer->context.TryCancel();
  EXPECT_EQ(peer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  WaitUntilIdle();
  EXPECT_LT(executor_.steps(), 50000);
}

// As does one whose message is too large, which tests/e2e/ingress_test.py sends.
TEST_F(SessionTest, APeerThatClosesItsSideEndsTheSession) {
  const std::unique_ptr<SessionPeer> peer = Connect();
  ASSERT_TRUE(peer->stream->Write(Submit(1, 50000)));
  peer->stream->WritesDone();
  EXPECT_EQ(peer->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  WaitUntilIdle();
}

TEST_F(SessionTest, GarbageEndsItsOwnSessionOnly) {
  const std::unique_ptr<SessionPeer> other = Connect();
  for (const absl::string_view garbage : {"\xff\xff\xff\xff", "\x0a\x7f", ""}) {
    const std::unique_ptr<RawPeer> peer = ConnectRaw();
    const grpc::Slice slice(garbage.data(), garbage.size());
    ASSERT_TRUE(peer->stream->Write(grpc::ByteBuffer(&slice, 1)));
    EXPECT_EQ(peer->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  ASSERT_TRUE(other->stream->Write(Submit(1, 5)));
  EXPECT_TRUE(ReadToEnd(*other, 1).has_finished());
}

TEST_F(SessionTest, BombsEndTheirOwnSessionsOnly) {
  const std::unique_ptr<SessionPeer> other = Connect();
  // Compressed zeros, and prompt_token_ids of a byte each on the wire.
  std::string ids("\x0a\x83\x80\x80\x01\x12\xff\xff\x7f", 9);
  ids.append((1 << 21) - 1, '\1');
  for (const auto& [compression, bytes, message] :
       {std::tuple(GRPC_COMPRESS_GZIP, std::string(64 << 20, '\0'), "when decompressed"),
        std::tuple(GRPC_COMPRESS_NONE, ids, "submit.prompt_token_ids: so many"),
        std::tuple(GRPC_COMPRESS_GZIP, ids, "submit.prompt_token_ids: so many")}) {
    const std::unique_ptr<RawPeer> peer = ConnectRaw(compression);
    const grpc::Slice slice(bytes);
    ASSERT_TRUE(peer->stream->Write(grpc::ByteBuffer(&slice, 1)));
    const grpc::Status status = peer->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr(message));
  }
  ASSERT_TRUE(other->stream->Write(Submit(1, 5)));
  EXPECT_TRUE(ReadToEnd(*other, 1).has_finished());
}

TEST_F(SessionTest, CompressedCommandsAreCarriedOut) {
  SessionPeer peer;
  peer.context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  peer.stream = worker::v1::Engine::NewStub(channel_)->Session(&peer.context);
  SessionRequest request = Submit(1, 5);
  for (int i = 0; i < 1000; ++i) request.mutable_submit()->add_prompt_token_ids(7);
  ASSERT_TRUE(peer.stream->Write(request));
  peer.Read();
  EXPECT_TRUE(ReadToEnd(peer, 1).has_finished());
}

TEST_F(SessionTest, APeerThatDoesNotReadIsClosed) {
  server_.reset();
  Serve({.address = {"127.0.0.1", 0}, .registry = &registry_, .max_queued_bytes = 4096});
  const std::unique_ptr<SessionPeer> peer = Connect();
  Pause(true);
  ASSERT_TRUE(peer->stream->Write(Submit(1, 50000)));
  while (engine_.load().waiting_requests + engine_.load().running_requests == 0) {
    std::this_thread::yield();
  }
  // Refusals are what piles up: they need no steps. The writer is stuck once the server has stopped
  // to read, until the stream ends.
  std::thread writer([&peer] {
    while (peer->stream->Write(Submit(2, -1))) {
    }
  });
  // Its request is cancelled although it may never read: the engine is free for others.
  Pause(false);
  WaitUntilIdle();
  EXPECT_LT(executor_.steps(), 50000);
  EXPECT_EQ(peer->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  writer.join();
}

}  // namespace
}  // namespace phalanx
