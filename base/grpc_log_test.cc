#include "base/grpc_log.h"

#include <grpc/support/log.h>

#include <cstdlib>

#include "base/log_writer.h"
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

TEST(GrpcLogDeathTest, AFailedAssertionIsToldBeforeTheProcessEnds) {
  EXPECT_DEATH(
      {
        SendGrpcLogToOurs();
        gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);
        const LogWriter writer({});
        gpr_log("call.cc", 7, GPR_LOG_SEVERITY_ERROR, "assertion failed: %s", "prior > 0");
        abort();
      },
      "F .*call.cc:7\\] gRPC: assertion failed: prior > 0");
}

}  // namespace
}  // namespace phalanx
