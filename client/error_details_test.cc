#include "client/error_details.h"

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

TEST(ErrorDetailsTest, TellsWhatTheServerTold) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  info.set_reason("BUSY");
  details.add_details()->PackFrom(info);
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(2);
  retry.mutable_retry_delay()->set_nanos(500'000'000);
  details.add_details()->PackFrom(retry);
  google::rpc::BadRequest bad;
  bad.add_field_violations()->set_field("stop[3]");
  details.add_details()->PackFrom(bad);
  google::rpc::RequestInfo request;
  request.set_request_id("17");
  details.add_details()->PackFrom(request);
  const absl::Status status =
      StatusFromGrpc({grpc::StatusCode::INVALID_ARGUMENT, "no", details.SerializeAsString()});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "no");
  const ErrorDetails told = DetailsOf(status);
  EXPECT_EQ(told.reason, "BUSY");
  EXPECT_EQ(told.field, "stop[3]");
  EXPECT_EQ(told.retry_delay, absl::Milliseconds(2500));
  EXPECT_EQ(told.request_id, "17");
}

TEST(ErrorDetailsTest, WithoutDetailsNothingIsTold) {
  for (const char* details : {"", "no message"}) {
    const ErrorDetails told =
        DetailsOf(StatusFromGrpc({grpc::StatusCode::UNAVAILABLE, "gone", details}));
    EXPECT_EQ(told.reason, "");
    EXPECT_EQ(told.field, "");
    EXPECT_EQ(told.retry_delay, std::nullopt);
    EXPECT_EQ(told.request_id, "");
  }
}

}  // namespace
}  // namespace phalanx
