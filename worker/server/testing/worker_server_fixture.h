// A worker's server on a loopback port, over an engine whose model is fake, and peers of it.
#ifndef PHALANX_WORKER_SERVER_TESTING_WORKER_SERVER_FIXTURE_H_
#define PHALANX_WORKER_SERVER_TESTING_WORKER_SERVER_FIXTURE_H_

#include <cstdint>
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "phalanx/worker/v1/engine.grpc.pb.h"
#include "worker/engine/testing/fake_step_executor.h"
#include "worker/server/worker_server.h"

namespace phalanx {

inline constexpr int kVocab = 1000;
inline constexpr StepLimits kLimits = {
    .max_step_tokens = 128, .max_seqs = 64, .max_blocks_per_seq = 4096, .kv_blocks = 4096};
inline constexpr int kContext = 60000;

// A prompt of one token.
inline worker::v1::SessionRequest Submit(uint64_t id, int max_new_tokens) {
  worker::v1::SessionRequest request;
  worker::v1::Submit* const submit = request.mutable_submit();
  submit->set_request_id(id);
  submit->add_prompt_token_ids(7);
  submit->set_max_new_tokens(max_new_tokens);
  submit->set_top_p(1.0f);
  submit->set_typical_p(1.0f);
  submit->set_repetition_penalty(1.0f);
  return request;
}

// One session over loopback, with blocking calls.
template <typename Request, typename Response>
struct Peer {
  // Declared in this order so that the stream is destroyed first.
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

using SessionPeer = Peer<worker::v1::SessionRequest, worker::v1::SessionResponse>;
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
    executor_.OnStep([this](const Step&) { WaitWhilePaused(); });
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
                       .weights_digest = "cafe",
                       .determinism = kernels::Determinism::kFast,
                       .features = {"constraint", "score"}});
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

  // Makes steps wait while `paused` is true.
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
  static worker::v1::RequestEvent ReadToEnd(SessionPeer& peer, uint64_t id) {
    worker::v1::RequestEvent whole;
    while (!whole.has_finished() && !whole.has_error()) {
      const worker::v1::SessionResponse response = peer.Read();
      if (!response.has_step()) break;
      EXPECT_TRUE(response.step().has_load());
      for (const worker::v1::RequestEvent& event : response.step().requests()) {
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

}  // namespace phalanx

#endif  // PHALANX_WORKER_SERVER_TESTING_WORKER_SERVER_FIXTURE_H_
