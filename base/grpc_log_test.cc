#include "base/grpc_log.h"

#include <grpc/support/log.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

TEST(GrpcLogTest, ErrorsAreLinesOfOurs) {
  gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);
  SendGrpcLogToOurs();
  testing::internal::CaptureStderr();
  gpr_log("server.cc", 7, GPR_LOG_SEVERITY_ERROR, "no %s left", "descriptors");
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              testing::MatchesRegex("E .*Z server.cc:7\\] gRPC: no descriptors left\n"));
}

}  // namespace
}  // namespace phalanx
