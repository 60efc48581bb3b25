#include "coordinator/routing/target_resolver.h"

#include <arpa/inet.h>
#include <netinet/in.h>

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

TEST(ResolveTargetTest, OfBothFamiliesOnlyIpv4Counts) {
  sockaddr_in6 six = {};
  six.sin6_family = AF_INET6;
  six.sin6_addr = in6addr_loopback;
  sockaddr_in four = {};
  four.sin_family = AF_INET;
  four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  addrinfo second = {};
  second.ai_family = AF_INET;
  second.ai_addr = reinterpret_cast<sockaddr*>(&four);
  addrinfo first = {};
  first.ai_family = AF_INET6;
  first.ai_addr = reinterpret_cast<sockaddr*>(&six);
  EXPECT_THAT(AddressesOf(&first, 7), ElementsAre("[::1]:7"));
  first.ai_next = &second;
  EXPECT_THAT(AddressesOf(&first, 7), ElementsAre("127.0.0.1:7"));
  EXPECT_THAT(AddressesOf(nullptr, 7), ::testing::IsEmpty());
}

TEST(ResolveTargetTest, SaysWhichNameDoesNotResolve) {
  const absl::Status status = ResolveTarget({"no such name", 7}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("no such name"));
}

}  // namespace
}  // namespace phalanx
