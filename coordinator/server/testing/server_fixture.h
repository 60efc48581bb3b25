// A coordinator on a loopback port, and clients of it.
#ifndef PHALANX_COORDINATOR_SERVER_TESTING_SERVER_FIXTURE_H_
#define PHALANX_COORDINATOR_SERVER_TESTING_SERVER_FIXTURE_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/sync_stream.h>

#include <memory>
#include <string>
#include <vector>

#include "coordinator/routing/testing/fake_engine.h"
#include "coordinator/server/coordinator_server.h"
#include "coordinator/server/testing/fake_text_service.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "gtest/gtest.h"
#include "phalanx/v1/inference.grpc.pb.h"

namespace phalanx {

// What a client saw of one Generate call.
struct Answer {
  v1::Started started;
  std::vector<v1::Delta> deltas;
  v1::Finished finished;
  grpc::Status status;
  // Whether the events came as Started, Deltas numbered from 0, Finished.
  bool in_order = true;
  std::string text;
  std::string reasoning_text;
  std::vector<int32_t> token_ids;
};

// A call that is being answered piece by piece.
class OpenCall {
 public:
  OpenCall(v1::Inference::Stub& stub, const v1::GenerateRequest& request)
      : reader_(stub.Generate(&context, request)) {}

  v1::GenerateEvent Next() {
    v1::GenerateEvent event;
    EXPECT_TRUE(reader_->Read(&event));
    return event;
  }

  // The status, whatever still comes before it.
  grpc::Status End() {
    v1::GenerateEvent event;
    while (reader_->Read(&event)) {
    }
    return reader_->Finish();
  }

  grpc::ClientContext context;

 private:
  const std::unique_ptr<grpc::ClientReader<v1::GenerateEvent>> reader_;
};

class ServerTest : public ::testing::Test {
 protected:
  // Fast reconnects; a context of 64 tokens, 256 tokens in the vocabulary, model "tiny".
  static CoordinatorServer::Options DefaultOptions();

  // Starts the server with these worker groups.
  void Start(const std::vector<const FakeEngine*>& engines,
             CoordinatorServer::Options options = DefaultOptions());

  void TearDown() override;
  void StopServer();

  std::shared_ptr<grpc::Channel> NewChannel();
  // Watches health, as a load balancer would, and returns when it has told this status.
  void WaitForHealth(grpc::health::v1::HealthCheckResponse::ServingStatus status,
                     const std::string& service = "");
  void WaitUntilServing() { WaitForHealth(grpc::health::v1::HealthCheckResponse::SERVING); }
  // Returns when the server has let go of all requests.
  void WaitUntilIdle();

  static v1::GenerateRequest TextRequest(const std::string& text);
  // Runs a call to its end.
  Answer Generate(const v1::GenerateRequest& request, grpc::ClientContext* context = nullptr);
  // Sends bytes to a method and returns the status.
  grpc::Status SendBytes(const std::string& method, const std::string& bytes);

  // The metrics page's line that begins with `series`, without it; empty if there is none.
  std::string Metric(const std::string& series);
  // phalanx_requests_total of one method and code.
  std::string RequestsMetric(const std::string& method, const std::string& code);

  prometheus::Registry registry_;
  FakeTextService* text_ = nullptr;
  std::unique_ptr<CoordinatorServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Inference::Stub> stub_;
};

// A whole answer at once, for FakeEngine.
FakeEngine::Script SayScript(const std::string& text);

}  // namespace phalanx

#endif  // PHALANX_COORDINATOR_SERVER_TESTING_SERVER_FIXTURE_H_
