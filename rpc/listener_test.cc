#include "rpc/listener.h"

#include <arpa/inet.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "gtest/gtest.h"
#include "prometheus/text_serializer.h"
#include "rpc/health_service.h"
#include "rpc/server_setup.h"

namespace phalanx {
namespace {

using ::grpc::health::v1::Health;
using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;

constexpr int64_t kMaxMessageBytes = 4 << 20;

class ListenerTest : public ::testing::Test {
 protected:
  void Start(const HostPort& address = {"127.0.0.1", 0}) {
    listener_ = Listener::Listen(address, kMaxMessageBytes, registry_).value();
    grpc::ServerBuilder builder;
    SetUpServer(kMaxMessageBytes, builder);
    builder.RegisterService(health_.service());
    listener_->Attach(builder);
    server_ = builder.BuildAndStart();
    listener_->Start();
  }

  void TearDown() override {
    if (listener_ != nullptr) listener_->Stop();
    if (server_ != nullptr) server_->Shutdown(gpr_now(GPR_CLOCK_MONOTONIC));
  }

  // Makes a call over a connection of its own, which stays in `channel`.
  grpc::Status Check(std::shared_ptr<grpc::Channel>* channel = nullptr) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto own_channel =
        grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", listener_->port()),
                                  grpc::InsecureChannelCredentials(), arguments);
    if (channel != nullptr) *channel = own_channel;
    return CheckOn(own_channel);
  }

  static grpc::Status CheckOn(const std::shared_ptr<grpc::Channel>& channel) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    HealthCheckRequest request;
    request.set_service(kLivenessService);
    HealthCheckResponse response;
    return Health::NewStub(channel)->Check(&context, request, &response);
  }

  double Metric(const std::string& name) {
    const std::string page = prometheus::TextSerializer().Serialize(registry_.Collect());
    for (const absl::string_view line : absl::StrSplit(page, '\n')) {
      double value;
      if (absl::StartsWith(line, name + " ") &&
          absl::SimpleAtod(line.substr(name.size() + 1), &value)) {
        return value;
      }
    }
    return -1;
  }

  int Connect() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(listener_->port()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    return fd;
  }

  prometheus::Registry registry_;
  HealthService health_{{}};
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(ListenerTest, ConnectionsReachTheServer) {
  Start();
  EXPECT_EQ(Metric("phalanx_connections_accepted_total"), 0);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Check().ok());
  EXPECT_EQ(Metric("phalanx_connections_accepted_total"), 3);
  EXPECT_EQ(Metric("phalanx_connections_refused_total"), 0);
}

TEST_F(ListenerTest, TheLastDescriptorsAreNotForConnections) {
  rlimit old_limit;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &old_limit), 0);
  rlimit limit = old_limit;
  limit.rlim_cur = 128;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  Start();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &old_limit), 0);
  std::shared_ptr<grpc::Channel> early;
  ASSERT_TRUE(Check(&early).ok());
  // Takes the descriptors that are left: the next ones are reserved.
  std::vector<int> files;
  while (files.empty() || files.back() < 127) files.push_back(dup(0));

  const int refused = Connect();
  char byte;
  EXPECT_EQ(read(refused, &byte, 1), 0) << "closed at once";
  close(refused);
  EXPECT_EQ(Check().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_GE(Metric("phalanx_connections_refused_total"), 2);
  EXPECT_TRUE(CheckOn(early).ok()) << "those that are connected stay so";

  for (const int fd : files) close(fd);
  EXPECT_TRUE(Check().ok()) << "room again";
}

TEST_F(ListenerTest, AStoppedPortIsClosedAndFree) {
  Start();
  std::shared_ptr<grpc::Channel> channel;
  ASSERT_TRUE(Check(&channel).ok());
  listener_->Stop();
  listener_->Stop();
  EXPECT_EQ(Check().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(CheckOn(channel).ok());
  prometheus::Registry registry;
  EXPECT_TRUE(Listener::Listen({"127.0.0.1", listener_->port()}, kMaxMessageBytes, registry).ok());
}

TEST_F(ListenerTest, APortInUseIsAnErrorThatNamesIt) {
  Start();
  prometheus::Registry registry;
  const absl::Status status =
      Listener::Listen({"127.0.0.1", listener_->port()}, kMaxMessageBytes, registry).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(absl::StrContains(status.message(), absl::StrCat("127.0.0.1:", listener_->port())));
}

}  // namespace
}  // namespace phalanx
