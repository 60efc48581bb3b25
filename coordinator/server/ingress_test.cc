// What clumsy and hostile clients can send.
#include <grpcpp/generic/generic_stub.h>

#include <string>

#include "coordinator/server/testing/server_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::grpc::health::v1::Health;
using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;
using ::testing::HasSubstr;

class IngressTest : public ServerTest {
 protected:
  grpc::Status Tokenize(const v1::TokenizeRequest& request, grpc_compression_algorithm compression,
                        v1::TokenizeResponse* response) {
    grpc::ClientContext context;
    context.set_compression_algorithm(compression);
    return stub_->Tokenize(&context, request, response);
  }

  HealthCheckResponse::ServingStatus StatusOf(const std::string& service) {
    grpc::ClientContext context;
    HealthCheckRequest request;
    request.set_service(service);
    HealthCheckResponse response;
    const grpc::Status status = Health::NewStub(channel_)->Check(&context, request, &response);
    EXPECT_TRUE(status.ok()) << service << ": " << status.error_message();
    return response.status();
  }
};

TEST_F(IngressTest, CompressedRequestsAreAnswered) {
  FakeEngine engine({}, SayScript("yes"));
  Start({&engine});
  WaitUntilServing();
  v1::TokenizeRequest request;
  request.set_text(std::string(3000, 'a'));
  for (const auto compression : {GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE}) {
    v1::TokenizeResponse response;
    const grpc::Status status = Tokenize(request, compression, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.text(), request.text());
    grpc::ClientContext context;
    context.set_compression_algorithm(compression);
    EXPECT_EQ(Generate(TextRequest(std::string(40, 'a')), &context).text, "yes");
  }
}

TEST_F(IngressTest, ARequestThatInflatesBeyondTheLimitIsRefused) {
  Start({});
  v1::TokenizeRequest request;
  request.set_text(std::string(64 << 20, 'a'));
  for (const auto compression : {GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE}) {
    v1::TokenizeResponse response;
    const grpc::Status status = Tokenize(request, compression, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr("more than 4194304 when decompressed"));
  }
  EXPECT_EQ(RequestsMetric("Tokenize", "INVALID_ARGUMENT"), "2");
}

TEST_F(IngressTest, ARequestOfCountlessFieldsIsRefusedBeforeItIsBuilt) {
  Start({});
  // chat.messages, two bytes each; then the same as fields that nobody knows.
  std::string chat("\x1a\x80\x80\x80\x01", 5);
  std::string unknown;
  for (int i = 0; i < 1 << 20; ++i) chat.append("\x0a\x00", 2);
  for (int i = 0; i < 1 << 20; ++i) unknown.append("\xc0\x3e\x01", 3);
  for (const char* method : {"Generate", "Tokenize"}) {
    const grpc::Status status = SendBytes(method, chat);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr("chat.messages: so many"));
  }
  for (const char* method : {"Score", "Detokenize", "GetModel", "ListModels"}) {
    EXPECT_THAT(SendBytes(method, unknown).error_message(), HasSubstr("an unknown field: so many"));
  }
}

TEST_F(IngressTest, HealthKnowsTheServiceTheModelAndTheProcess) {
  Start({});
  for (const char* service : {"", "tiny", "phalanx.v1.Inference"}) {
    EXPECT_EQ(StatusOf(service), HealthCheckResponse::NOT_SERVING) << service;
  }
  EXPECT_EQ(StatusOf("liveness"), HealthCheckResponse::SERVING);
}

TEST_F(IngressTest, HealthFollowsTheGroupsAndTheDrain) {
  FakeEngine engine({});
  Start({&engine});
  for (const char* service : {"", "tiny", "phalanx.v1.Inference"}) {
    WaitForHealth(HealthCheckResponse::SERVING, service);
  }
  server_->BeginLameDuck();
  for (const char* service : {"", "tiny", "phalanx.v1.Inference"}) {
    EXPECT_EQ(StatusOf(service), HealthCheckResponse::NOT_SERVING) << service;
  }
  EXPECT_EQ(StatusOf("liveness"), HealthCheckResponse::SERVING) << "leaving is no illness";
}

TEST_F(IngressTest, AWatchIsNotToldWhatDidNotChange) {
  Start({});
  const auto health = Health::NewStub(channel_);
  grpc::ClientContext context;
  const auto reader = health->Watch(&context, HealthCheckRequest());
  HealthCheckResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  WaitUntilIdle();  // Drains, which reports NOT_SERVING again.
  server_.reset();
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace phalanx
