#include "base/metrics_endpoint.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "prometheus/collectable.h"
#include "prometheus/counter.h"
#include "prometheus/metric_family.h"

namespace phalanx {
namespace {

// A connection to a local port.
int Connect(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  return fd;
}

// The whole answer to a request.
std::string Ask(int port, const std::string& request) {
  const int fd = Connect(port);
  EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
  std::string answer;
  char buffer[4096];
  for (ssize_t bytes; (bytes = read(fd, buffer, sizeof(buffer))) > 0;) answer.append(buffer, bytes);
  close(fd);
  return answer;
}

std::string Scrape(int port) { return Ask(port, "GET /metrics HTTP/1.0\r\n\r\n"); }

double ValueOf(const std::string& page, const std::string& series) {
  const size_t at = page.find(absl::StrCat("\n", series, " "));
  EXPECT_NE(at, std::string::npos) << series << " is not in " << page;
  if (at == std::string::npos) return -1;
  const size_t begin = at + series.size() + 2;
  double value = -1;
  EXPECT_TRUE(absl::SimpleAtod(page.substr(begin, page.find('\n', begin) - begin), &value));
  return value;
}

class MetricsEndpointTest : public testing::Test {
 protected:
  static constexpr char kHost[] = "127.0.0.1";

  std::unique_ptr<MetricsEndpoint> Serve(const std::string& host = kHost) {
    auto endpoint = MetricsEndpoint::Create({host, 0}, "tester", registry_);
    EXPECT_TRUE(endpoint.ok()) << endpoint.status();
    return *std::move(endpoint);
  }

  std::shared_ptr<prometheus::Registry> registry_ = std::make_shared<prometheus::Registry>();
};

TEST_F(MetricsEndpointTest, ServesTheRegistryAndTheProcess) {
  prometheus::BuildCounter().Name("answers_total").Register(*registry_).Add({}).Increment(42);
  const auto endpoint = Serve();
  const std::string page = Scrape(endpoint->port());
  EXPECT_THAT(page, testing::StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(page, testing::HasSubstr("Content-Type: text/plain; version=0.0.4"));
  EXPECT_EQ(ValueOf(page, "answers_total"), 42);
  EXPECT_THAT(page, testing::HasSubstr("program=\"tester\""));
  EXPECT_GE(ValueOf(page, "process_open_fds"), 3);
}

// Tells how often it was asked.
class AskedOften final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override {
    prometheus::ClientMetric metric;
    metric.counter.value = ++asked_;
    return {{"asked_total", "Times.", prometheus::MetricType::Counter, {metric}}};
  }

 private:
  mutable int asked_ = 0;
};

TEST_F(MetricsEndpointTest, WhatIsAddedIsCollectedForEachPage) {
  const auto endpoint = Serve();
  EXPECT_THAT(Scrape(endpoint->port()), testing::Not(testing::HasSubstr("asked_total")));
  endpoint->Add(std::make_shared<AskedOften>());
  EXPECT_EQ(ValueOf(Scrape(endpoint->port()), "asked_total"), 1);
  EXPECT_EQ(ValueOf(Scrape(endpoint->port()), "asked_total"), 2);
}

TEST_F(MetricsEndpointTest, OnlyGetAndOnlyThePage) {
  const auto endpoint = Serve();
  EXPECT_THAT(Ask(endpoint->port(), "GET / HTTP/1.0\r\n\r\n"), testing::HasSubstr(" 404 "));
  EXPECT_THAT(Ask(endpoint->port(), "POST /metrics HTTP/1.0\r\nContent-Length: 0\r\n\r\n"),
              testing::HasSubstr(" 405 "));
}

TEST_F(MetricsEndpointTest, ConnectionsThatSayNothingKeepNobodyWaiting) {
  auto endpoint = Serve();
  std::vector<int> silent;
  for (int i = 0; i < 100; ++i) {
    silent.push_back(Connect(endpoint->port()));
    // Half of them have begun to speak.
    EXPECT_EQ(write(silent.back(), "GET /met", i % 2 * 8), i % 2 * 8);
  }
  const absl::Time begin = MonotonicClock()->Now();
  EXPECT_THAT(Scrape(endpoint->port()), testing::HasSubstr(" 200 "));
  endpoint.reset();
  // They are closed after 5 s only.
  EXPECT_LT(MonotonicClock()->Now() - begin, absl::Seconds(4));
  for (const int fd : silent) close(fd);
}

TEST_F(MetricsEndpointTest, ServesBothFamiliesAtEveryAddress) {
  const auto endpoint = Serve("::");
  EXPECT_THAT(Scrape(endpoint->port()), testing::HasSubstr(" 200 "));
}

TEST_F(MetricsEndpointTest, NamesAnAddressThatIsTakenAndWhy) {
  const auto first = Serve();
  const HostPort address{kHost, first->port()};
  const absl::Status status = MetricsEndpoint::Create(address, "tester", registry_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(),
            absl::StrCat("no /metrics page: cannot listen on ", address.ToString(),
                         ": Address already in use (--metrics_listen)"));
}

TEST(BucketsTest, RiseFromTheFirstToTheLast) {
  for (const auto& buckets : {RequestLatencyBuckets(), StepLatencyBuckets()}) {
    EXPECT_TRUE(std::is_sorted(buckets.begin(), buckets.end()));
  }
  EXPECT_EQ(RequestLatencyBuckets().front(), 0.001);
  EXPECT_EQ(RequestLatencyBuckets().back(), 600);
}

}  // namespace
}  // namespace phalanx
