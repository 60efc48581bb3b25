#include "base/host_port.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using testing::HasSubstr;

TEST(HostPortTest, ParsesNamesAndAddresses) {
  const struct {
    const char* text;
    const char* host;
    int port;
  } kCases[] = {
      {"localhost:50051", "localhost", 50051},
      {"worker-0.worker.default.svc.cluster.local:1", "worker-0.worker.default.svc.cluster.local",
       1},
      {"full.name.:443", "full.name.", 443},
      {"a_b:80", "a_b", 80},
      {"1password.com:80", "1password.com", 80},
      {"127.0.0.1:65535", "127.0.0.1", 65535},
      {"0.0.0.0:9400", "0.0.0.0", 9400},
      {"[::1]:50051", "::1", 50051},
      {"[::]:9400", "::", 9400},
      {"[2001:db8::1]:1", "2001:db8::1", 1},
      {"[::ffff:1.2.3.4]:1", "::ffff:1.2.3.4", 1},
  };
  for (const auto& c : kCases) {
    for (const PortUse use : {PortUse::kListen, PortUse::kConnect}) {
      const absl::StatusOr<HostPort> parsed = ParseHostPort(c.text, use);
      ASSERT_TRUE(parsed.ok()) << parsed.status();
      EXPECT_EQ(parsed->host, c.host);
      EXPECT_EQ(parsed->port, c.port);
      EXPECT_EQ(parsed->ToString(), c.text);
    }
  }
}

TEST(HostPortTest, PortZeroIsForListening) {
  EXPECT_TRUE(ParseHostPort("127.0.0.1:0", PortUse::kListen).ok());
  EXPECT_THAT(ParseHostPort("127.0.0.1:0", PortUse::kConnect).status().message(),
              HasSubstr("a port is a number from 1 to 65535"));
}

TEST(HostPortTest, RefusesEverythingElseAndSaysWhy) {
  const struct {
    std::string text;
    const char* why;
  } kCases[] = {
      {"", "there is no port"},
      {"127.0.0.1", "there is no port"},
      {"50051", "there is no port"},
      {"[::1]", "there is no port"},
      {"::1", "IPv6 address belongs in brackets"},
      {"::1:50051", "IPv6 address belongs in brackets"},
      {":50051", "there is no host"},
      {":", "there is no host"},
      {"[]:1", "between brackets"},
      {"[127.0.0.1]:1", "between brackets"},
      {"[::1:1", "between brackets"},
      {"[::1]x:1", "between brackets"},
      {"[[::1]]:1", "between brackets"},
      {"[::1%lo]:1", "between brackets"},
      {"[:::1]:1", "between brackets"},
      {std::string("[::1\0]:1", 8), "between brackets"},
      {"::1]:1", "IPv6 address belongs in brackets"},
      {"unix:/tmp/socket", "a port is a number"},
      {"unix:1", nullptr},  // A host may be called unix.
      {"unix:///tmp/a:1", "IPv6 address belongs in brackets"},
      {"dns:///a:1", "IPv6 address belongs in brackets"},
      {"http://a:1", "IPv6 address belongs in brackets"},
      {"a:1/metrics", "a port is a number"},
      {"a b:1", "neither"},
      {" a:1", "neither"},
      {"a..b:1", "neither"},
      {".:1", "neither"},
      {"-a:1", "neither"},
      {"a,b:1", "neither"},
      {"*:1", "neither"},
      {std::string("a\0b:1", 5), "neither"},
      {std::string(64, 'a') + ":1", "neither"},
      {"256.0.0.1:1", "no IPv4 address"},
      {"1.2.3:1", "no IPv4 address"},
      {"1.2.3.4.5:1", "no IPv4 address"},
      {"127.0.0.01:1", "no IPv4 address"},
      {"127.0.0.1.:1", "no IPv4 address"},
      {"1:1", "no IPv4 address"},
      {"a:", "a port is a number from 0 to 65535, where 0 takes a free one"},
      {"a:99999", "a port is a number"},
      {"a:65536", "a port is a number"},
      {"a:4294967297", "a port is a number"},
      {"a:18446744073709551617", "a port is a number"},
      {"a:-1", "a port is a number"},
      {"a:+1", "a port is a number"},
      {"a: 1", "a port is a number"},
      {"a:1 ", "a port is a number"},
      {"a:01", "a port is a number"},
      {"a:0x50", "a port is a number"},
      {"a:http", "a port is a number"},
  };
  for (const auto& c : kCases) {
    const absl::StatusOr<HostPort> parsed = ParseHostPort(c.text, PortUse::kListen);
    if (c.why == nullptr) {
      EXPECT_TRUE(parsed.ok()) << parsed.status();
      continue;
    }
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << c.text;
    EXPECT_THAT(parsed.status().message(), HasSubstr("is not HOST:PORT: ")) << c.text;
    EXPECT_THAT(parsed.status().message(), HasSubstr(c.why)) << c.text;
  }
}

TEST(HostPortTest, AddressesForAllAreDialledAtTheLoopback) {
  EXPECT_EQ(Dialable({"0.0.0.0", 1}).ToString(), "127.0.0.1:1");
  EXPECT_EQ(Dialable({"::", 1}).ToString(), "[::1]:1");
  EXPECT_EQ(Dialable({"0:0:0:0:0:0:0:0", 1}).ToString(), "[::1]:1");
  EXPECT_EQ(Dialable({"10.0.0.1", 1}).ToString(), "10.0.0.1:1");
  EXPECT_EQ(Dialable({"name", 1}).ToString(), "name:1");
}

}  // namespace
}  // namespace phalanx
