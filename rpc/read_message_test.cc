#include "rpc/read_message.h"

#include <grpcpp/support/slice.h>

#include "grpc/health/v1/health.pb.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

TEST(ReadMessageTest, AMessageOfNoBytesIsAMessage) {
  const grpc::Slice slice;
  grpc::health::v1::HealthCheckRequest request;
  EXPECT_TRUE(ReadMessage(grpc::ByteBuffer(&slice, 1), 100, &request).ok());
}

TEST(ReadMessageTest, WhatGrpcRefusedToReadIsTooLarge) {
  grpc::health::v1::HealthCheckRequest request;
  EXPECT_EQ(ReadMessage(grpc::ByteBuffer(), 100, &request),
            absl::ResourceExhaustedError("request: larger than max (100 bytes), or missing"));
}

}  // namespace
}  // namespace phalanx
