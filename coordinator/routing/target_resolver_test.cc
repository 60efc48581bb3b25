#include "coordinator/routing/target_resolver.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;

TEST(ResolveTargetTest, GivesNumericAddresses) {
  EXPECT_THAT(*ResolveTarget({"127.0.0.1", 7}), ElementsAre("127.0.0.1:7"));
  EXPECT_THAT(*ResolveTarget({"::1", 7}), ElementsAre("[::1]:7"));
  EXPECT_THAT(*ResolveTarget({"localhost", 7}), ElementsAre("127.0.0.1:7"));
}

TEST(ResolveTargetTest, SaysWhichNameDoesNotResolve) {
  const absl::Status status = ResolveTarget({"no such name", 7}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("no such name"));
}

}  // namespace
}  // namespace phalanx
