#include "worker/comm/host_for_others.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <string>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

sockaddr_storage AddressOf(const std::string& text) {
  sockaddr_storage address{};
  auto& v4 = reinterpret_cast<sockaddr_in&>(address);
  auto& v6 = reinterpret_cast<sockaddr_in6&>(address);
  if (inet_pton(AF_INET, text.c_str(), &v4.sin_addr) == 1) {
    address.ss_family = AF_INET;
  } else {
    EXPECT_EQ(inet_pton(AF_INET6, text.c_str(), &v6.sin6_addr), 1) << text;
    address.ss_family = AF_INET6;
  }
  return address;
}

TEST(HostForOthersTest, IsTheAddressInTheFormThatMostHostsKnow) {
  const struct {
    std::string address;
    std::string host;
  } kCases[] = {
      {"10.0.0.2", "10.0.0.2"}, {"fd00::2", "fd00::2"}, {"::ffff:10.0.0.2", "10.0.0.2"},
      {"127.0.0.1", ""},        {"127.1.2.3", ""},      {"::1", ""},
      {"::ffff:127.0.0.1", ""},
  };
  for (const auto& test_case : kCases) {
    const absl::StatusOr<std::string> host = HostForOthers(AddressOf(test_case.address));
    ASSERT_TRUE(host.ok()) << test_case.address << ": " << host.status();
    EXPECT_EQ(*host, test_case.host) << test_case.address;
  }
}

TEST(HostForOthersTest, AUnixSocketHasNone) {
  sockaddr_storage address{};
  address.ss_family = AF_UNIX;
  EXPECT_TRUE(absl::IsUnavailable(HostForOthers(address).status()));
}

}  // namespace
}  // namespace phalanx
