#include "rpc/health_service.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <chrono>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "gtest/gtest.h"
#include "rpc/server_setup.h"

namespace phalanx {
namespace {

using ::grpc::health::v1::Health;
using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;

HealthCheckRequest RequestFor(const std::string& name) {
  HealthCheckRequest request;
  request.set_service(name);
  return request;
}

class HealthServiceTest : public ::testing::Test {
 protected:
  HealthServiceTest() {
    grpc::ServerBuilder builder;
    SetUpServer(4 << 20, builder);
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(health_.service());
    server_ = builder.BuildAndStart();
    stub_ = Health::NewStub(
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials()));
  }

  struct Watch {
    Watch(Health::Stub& stub, const std::string& name) {
      context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
      reader = stub.Watch(&context, RequestFor(name));
    }

    // -1 if the stream has ended.
    int Next() {
      HealthCheckResponse response;
      return reader->Read(&response) ? response.status() : -1;
    }

    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<HealthCheckResponse>> reader;
  };

  grpc::Status Check(const std::string& name, HealthCheckResponse* response,
                     grpc_compression_algorithm compression = GRPC_COMPRESS_NONE) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    context.set_compression_algorithm(compression);
    return stub_->Check(&context, RequestFor(name), response);
  }

  int StatusOf(const std::string& name) {
    HealthCheckResponse response;
    const grpc::Status status = Check(name, &response);
    EXPECT_TRUE(status.ok()) << name << ": " << status.error_message();
    return response.status();
  }

  HealthService health_{{"model", "api"}};
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Health::Stub> stub_;
};

TEST_F(HealthServiceTest, NothingServesBeforeItIsSaidButTheProcessLives) {
  for (const std::string name : {"", "model", "api"}) {
    EXPECT_EQ(StatusOf(name), HealthCheckResponse::NOT_SERVING);
  }
  EXPECT_EQ(StatusOf(kLivenessService), HealthCheckResponse::SERVING);
  health_.SetServing(true);
  for (const std::string name : {"", "model", "api", kLivenessService}) {
    EXPECT_EQ(StatusOf(name), HealthCheckResponse::SERVING);
  }
  health_.SetServing(false);
  EXPECT_EQ(StatusOf(""), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(StatusOf(kLivenessService), HealthCheckResponse::SERVING);
}

TEST_F(HealthServiceTest, AWatchTellsChangesOnly) {
  Watch watch(*stub_, "model");
  EXPECT_EQ(watch.Next(), HealthCheckResponse::NOT_SERVING);
  health_.SetServing(false);
  health_.SetServing(false);
  health_.SetServing(true);
  EXPECT_EQ(watch.Next(), HealthCheckResponse::SERVING);
  health_.SetServing(true);
  health_.SetServing(false);
  EXPECT_EQ(watch.Next(), HealthCheckResponse::NOT_SERVING);
  health_.EndWatches();
  EXPECT_EQ(watch.Next(), -1);
  EXPECT_EQ(watch.reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(HealthServiceTest, TheLastChangeIsToldBeforeTheEnd) {
  health_.SetServing(true);
  Watch watch(*stub_, "");
  EXPECT_EQ(watch.Next(), HealthCheckResponse::SERVING);
  health_.SetServing(false);
  health_.EndWatches();
  EXPECT_EQ(watch.Next(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(watch.Next(), -1);
  // A watch that comes now is told the status, and nothing more.
  Watch late(*stub_, "");
  EXPECT_EQ(late.Next(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(late.Next(), -1);
}

TEST_F(HealthServiceTest, UnknownNames) {
  HealthCheckResponse response;
  EXPECT_EQ(Check("other", &response).error_code(), grpc::StatusCode::NOT_FOUND);
  Watch watch(*stub_, "other");
  EXPECT_EQ(watch.Next(), HealthCheckResponse::SERVICE_UNKNOWN);
  health_.SetServing(true);
  health_.EndWatches();
  EXPECT_EQ(watch.Next(), -1);
}

TEST_F(HealthServiceTest, ACancelledWatchIsForgotten) {
  Watch watch(*stub_, "");
  EXPECT_EQ(watch.Next(), HealthCheckResponse::NOT_SERVING);
  watch.context.TryCancel();
  EXPECT_EQ(watch.reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(60));
  server_->Wait();
  health_.SetServing(true);
}

TEST_F(HealthServiceTest, CompressedAndLongRequestsAreBounded) {
  HealthCheckResponse response;
  const std::string long_name(2000, 'x');
  EXPECT_EQ(Check(long_name, &response, GRPC_COMPRESS_GZIP).error_code(),
            grpc::StatusCode::NOT_FOUND);
  const std::string bomb(3 << 20, 'x');
  for (const auto compression : {GRPC_COMPRESS_NONE, GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE}) {
    EXPECT_EQ(Check(bomb, &response, compression).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  Watch watch(*stub_, bomb);
  EXPECT_EQ(watch.Next(), -1);
  EXPECT_EQ(watch.reader->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace phalanx
