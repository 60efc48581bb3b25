#include "base/metrics_endpoint.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "prometheus/counter.h"

namespace phalanx {
namespace {

// The answer to GET /metrics on a local port.
std::string Scrape(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  const std::string request = "GET /metrics HTTP/1.0\r\n\r\n";
  EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
  std::string answer;
  char buffer[4096];
  for (ssize_t bytes; (bytes = read(fd, buffer, sizeof(buffer))) > 0;) answer.append(buffer, bytes);
  close(fd);
  return answer;
}

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
  std::shared_ptr<prometheus::Registry> registry_ = std::make_shared<prometheus::Registry>();
};

TEST_F(MetricsEndpointTest, ServesTheRegistryAndTheProcess) {
  prometheus::BuildCounter().Name("answers_total").Register(*registry_).Add({}).Increment(42);
  auto endpoint = MetricsEndpoint::Create("127.0.0.1:0", "tester", registry_);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  const std::string page = Scrape((*endpoint)->port());
  EXPECT_EQ(ValueOf(page, "answers_total"), 42);
  EXPECT_NE(page.find("program=\"tester\""), std::string::npos);
  EXPECT_GE(ValueOf(page, "process_cpu_seconds_total"), 0);
  EXPECT_GT(ValueOf(page, "process_resident_memory_bytes"), 1 << 20);
  EXPECT_GE(ValueOf(page, "process_open_fds"), 3);
  EXPECT_GE(ValueOf(page, "process_max_fds"), ValueOf(page, "process_open_fds"));
  EXPECT_GT(ValueOf(page, "process_start_time_seconds"), 1.7e9);
}

TEST_F(MetricsEndpointTest, NamesAnAddressThatIsTaken) {
  auto first = MetricsEndpoint::Create("127.0.0.1:0", "tester", registry_);
  ASSERT_TRUE(first.ok());
  const std::string address = absl::StrCat("127.0.0.1:", (*first)->port());
  const absl::Status status = MetricsEndpoint::Create(address, "tester", registry_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(status.message().find(address), absl::string_view::npos) << status;
}

TEST_F(MetricsEndpointTest, RefusesWhatIsNoAddress) {
  for (const char* address : {"", "9400", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000"}) {
    EXPECT_EQ(MetricsEndpoint::Create(address, "tester", registry_).status().code(),
              absl::StatusCode::kInvalidArgument)
        << address;
  }
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
