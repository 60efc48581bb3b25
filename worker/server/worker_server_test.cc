#include "worker/server/worker_server.h"

#include <cmath>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "gmock/gmock.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "phalanx/worker/v1/engine.grpc.pb.h"
#include "worker/engine/fake_step_executor.h"

namespace phalanx {
namespace {

using ::testing::HasSubstr;
using worker::v1::RequestEvent;
using worker::v1::SessionRequest;
using worker::v1::SessionResponse;

constexpr int kVocab = 1000;
constexpr StepLimits kLimits = {
    .max_step_tokens = 128, .max_seqs = 64, .max_blocks_per_seq = 4096, .kv_blocks = 4096};
constexpr int kContext = 60000;

SessionRequest Submit(uint64_t id, int max_new_tokens) {
  SessionRequest request;
  worker::v1::Submit* const submit = request.mutable_submit();
  submit->set_request_id(id);
  submit->add_prompt_token_ids(7);
  submit->set_max_new_tokens(max_new_tokens);
  submit->set_top_p(1.0f);
  return request;
}

// One session over loopback, with blocking calls.
template <typename Request, typename Response>
struct Peer {
  // Declared in this order so that the stream goes first.
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<Request, Response>> stream;

  Response Read() {
    Response response;
    EXPECT_TRUE(stream->Read(&response));
    return response;
  }

  // What ended the stream, after reading all that is left.
  grpc::Status Finish() {
    Response response;
    while (stream->Read(&response)) {
    }
    return stream->Finish();
  }
};

using SessionPeer = Peer<SessionRequest, SessionResponse>;
using RawPeer = Peer<grpc::ByteBuffer, grpc::ByteBuffer>;

// A server on a free port over an engine whose model is fake.
class WorkerServerTest : public ::testing::Test {
 protected:
  WorkerServerTest()
      : metrics_(registry_),
        executor_(kLimits, kVocab),
        engine_({.limits = kLimits,
                 .request_limits = {.vocab_size = kVocab, .context_tokens = kContext},
                 .max_waiting = 100},
                &executor_, MonotonicClock(), &metrics_) {
    executor_.OnStep([this](const StepInput&) { WaitWhilePaused(); });
    loop_ = std::thread([this] { (void)engine_.Run(); });
    Serve({.address = {"127.0.0.1", 0}, .registry = &registry_});
  }

  ~WorkerServerTest() override {
    Pause(false);
    server_.reset();
    engine_.Stop();
    loop_.join();
    EXPECT_EQ(engine_.load().used_kv_blocks, 0);
  }

  void Serve(const WorkerServer::Options& options) {
    Listen(options);
    Announce();
  }

  void Announce() {
    server_->Announce({.model_name = "tiny",
                       .model_fingerprint = "f00d",
                       .context_tokens = kContext,
                       .world = 2,
                       .total_kv_blocks = kLimits.kv_blocks,
                       .weights_digest = "cafe"});
  }

  void Listen(const WorkerServer::Options& options) {
    server_ = WorkerServer::Start(options, &engine_).value();
    // A small window, so that a peer that does not read is noticed after few bytes.
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1024);
    channel_ = grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", server_->port()),
                                         grpc::InsecureChannelCredentials(), arguments);
  }

  // While paused, steps do not end.
  void Pause(bool paused) {
    MutexLock lock(&mutex_);
    paused_ = paused;
    changed_.SignalAll();
  }

  void WaitWhilePaused() {
    MutexLock lock(&mutex_);
    while (paused_) changed_.Wait(&mutex_);
  }

  // A session whose Hello has been read.
  std::unique_ptr<SessionPeer> Connect() {
    auto peer = std::make_unique<SessionPeer>();
    peer->stream = worker::v1::Engine::NewStub(channel_)->Session(&peer->context);
    EXPECT_EQ(peer->Read().hello().model_name(), "tiny");
    return peer;
  }

  std::unique_ptr<RawPeer> ConnectRaw(grpc_compression_algorithm compression = GRPC_COMPRESS_NONE) {
    auto peer = std::make_unique<RawPeer>();
    peer->context.set_compression_algorithm(compression);
    const grpc::internal::RpcMethod method("/phalanx.worker.v1.Engine/Session",
                                           grpc::internal::RpcMethod::BIDI_STREAMING);
    peer->stream.reset(
        grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, grpc::ByteBuffer>::Create(
            channel_.get(), method, &peer->context));
    return peer;
  }

  // The last event of a request, its tokens all put together.
  static RequestEvent ReadToEnd(SessionPeer& peer, uint64_t id) {
    RequestEvent whole;
    while (!whole.has_finished() && !whole.has_error()) {
      const SessionResponse response = peer.Read();
      if (!response.has_step()) break;
      EXPECT_TRUE(response.step().has_load());
      for (const RequestEvent& event : response.step().requests()) {
        if (event.request_id() == id) whole.MergeFrom(event);
      }
    }
    return whole;
  }

  void WaitUntilIdle() { ASSERT_TRUE(engine_.Drain(absl::Seconds(60))); }

  Mutex mutex_;
  CondVar changed_;
  bool paused_ GUARDED_BY(mutex_) = false;
  prometheus::Registry registry_;
  EngineMetrics metrics_;
  FakeStepExecutor executor_;
  Engine engine_;
  std::thread loop_;
  std::unique_ptr<WorkerServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

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

TEST_F(WorkerServerTest, GreetsThenStreamsTokens) {
  SessionPeer peer;
  peer.stream = worker::v1::Engine::NewStub(channel_)->Session(&peer.context);
  const worker::v1::Hello hello = peer.Read().hello();
  EXPECT_EQ(hello.model_fingerprint(), "f00d");
  EXPECT_EQ(hello.context_tokens(), kContext);
  EXPECT_EQ(hello.world(), 2);
  EXPECT_EQ(hello.total_kv_blocks(), kLimits.kv_blocks);
  EXPECT_EQ(hello.kv_block_tokens(), 16);
  EXPECT_EQ(hello.weights_digest(), "cafe");

  ASSERT_TRUE(peer.stream->Write(Submit(3, 20)));
  const RequestEvent answer = ReadToEnd(peer, 3);
  EXPECT_EQ(std::vector<int32_t>(answer.token_ids().begin(), answer.token_ids().end()),
            executor_.Continuation({7}, 20));
  EXPECT_EQ(answer.finished().reason(), worker::v1::EngineFinished::REASON_LENGTH);
  peer.stream->WritesDone();
  EXPECT_TRUE(peer.Finish().ok());
}

TEST_F(WorkerServerTest, SaysAtOnceThatItHasTakenARequestIn) {
  const std::unique_ptr<SessionPeer> peer = Connect();
  // No step ends: what comes now does not wait for one.
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
  // A refusal comes without it.
  ASSERT_TRUE(peer->stream->Write(Submit(2, -1)));
  const RequestEvent refusal = ReadToEnd(*peer, 2);
  EXPECT_TRUE(refusal.has_error());
  EXPECT_FALSE(refusal.accepted());
}

TEST_F(WorkerServerTest, RefusesBadFieldsByNameAndGoesOn) {
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

TEST_F(WorkerServerTest, RefusesAnIdInUse) {
  const std::unique_ptr<SessionPeer> peer = Connect();
  Pause(true);
  ASSERT_TRUE(peer->stream->Write(Submit(1, 5)));
  ASSERT_TRUE(peer->stream->Write(Submit(1, 5)));
  EXPECT_THAT(ReadToEnd(*peer, 1).error().message(), HasSubstr("request_id 1 is in use"));
  Pause(false);
  EXPECT_EQ(ReadToEnd(*peer, 1).token_ids_size(), 5) << "the first one goes on";
}

TEST_F(WorkerServerTest, CancelStopsARequest) {
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

TEST_F(WorkerServerTest, APeerThatGoesAwayTakesItsRequestsWithIt) {
  const std::unique_ptr<SessionPeer> peer = Connect();
  ASSERT_TRUE(peer->stream->Write(Submit(1, 50000)));
  ASSERT_TRUE(peer->stream->Write(Submit(2, 50000)));
  peer->Read();
  peer->context.TryCancel();
  EXPECT_EQ(peer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  WaitUntilIdle();
  EXPECT_LT(executor_.steps(), 50000);
}

TEST_F(WorkerServerTest, APeerThatClosesItsSideEndsTheSession) {
  const std::unique_ptr<SessionPeer> peer = Connect();
  ASSERT_TRUE(peer->stream->Write(Submit(1, 50000)));
  peer->stream->WritesDone();
  EXPECT_TRUE(peer->Finish().ok());
  WaitUntilIdle();
}

TEST_F(WorkerServerTest, GarbageEndsItsOwnSessionOnly) {
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

TEST_F(WorkerServerTest, BombsEndTheirOwnSessionsOnly) {
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

TEST_F(WorkerServerTest, CompressedCommandsAreCarriedOut) {
  SessionPeer peer;
  peer.context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  peer.stream = worker::v1::Engine::NewStub(channel_)->Session(&peer.context);
  SessionRequest request = Submit(1, 5);
  for (int i = 0; i < 1000; ++i) request.mutable_submit()->add_prompt_token_ids(7);
  ASSERT_TRUE(peer.stream->Write(request));
  peer.Read();
  EXPECT_TRUE(ReadToEnd(peer, 1).has_finished());
}

TEST_F(WorkerServerTest, APeerThatDoesNotReadIsClosed) {
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
