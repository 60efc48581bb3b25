#include "coordinator/server/raw_messages.h"

#include <grpcpp/support/slice.h>

#include <string>

#include "coordinator/admission/refusal.h"
#include "gtest/gtest.h"
#include "phalanx/v1/inference.pb.h"

namespace phalanx {
namespace {

grpc::ByteBuffer Buffer(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

TEST(RawMessagesTest, WhatIsWrittenIsRead) {
  v1::TokenizeRequest request;
  request.set_text("hi");
  v1::TokenizeRequest read;
  EXPECT_TRUE(ReadRequest(SerializeMessage(request), 100, &read).ok());
  EXPECT_EQ(read.text(), "hi");
}

TEST(RawMessagesTest, WhatCannotBeReadIsARefusalOfItsKind) {
  v1::TokenizeRequest request;
  // A length beyond the end.
  EXPECT_EQ(KindOfRefusal(ReadRequest(Buffer("\x12\x7f"), 100, &request)), RefusalKind::kMalformed);
  request.set_text(std::string(99, 'a'));
  EXPECT_EQ(KindOfRefusal(ReadRequest(SerializeMessage(request), 100, &request)),
            RefusalKind::kTooLarge);
  // gRPC hands on a message that it has refused itself, without its bytes.
  EXPECT_EQ(KindOfRefusal(ReadRequest(grpc::ByteBuffer(), 100, &request)), RefusalKind::kTooLarge);
}

}  // namespace
}  // namespace phalanx
