// The wall clock is set by an hour while gRPC waits for its timers: nothing comes late or early.
// That holds for every program that calls SetUpServer, by //base:monotonic_futex.
#include <grpcpp/alarm.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/testing/movable_wall_clock.h"
#include "gtest/gtest.h"
#include "rpc/server_setup.h"

namespace phalanx {
namespace {

constexpr absl::Duration kSoon = absl::Milliseconds(100);
// How long to wait for what should come soon, since the machine may be busy.
constexpr absl::Duration kPatience = absl::Seconds(20);
// How long it takes until gRPC's thread for timers waits for one that was just set.
constexpr absl::Duration kMoment = absl::Milliseconds(5);

gpr_timespec After(absl::Duration delay) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_millis(absl::ToInt64Milliseconds(delay), GPR_TIMESPAN));
}

// Takes calls and never answers. A call that has ended for the client ends here too.
class SilentService final : public grpc::CallbackGenericService {
  class Call final : public grpc::ServerGenericBidiReactor {
   public:
    void OnCancel() override { Finish(grpc::Status::CANCELLED); }
    void OnDone() override { delete this; }
  };

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    return new Call;
  }
};

class WallClockTest : public ::testing::TestWithParam<int> {
 protected:
  // Sets the clock right again.
  ~WallClockTest() override {
    MoveWallClock(-moved_);
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
    }
  }

  void SetClock() {
    EXPECT_FALSE(Next(kMoment));
    MoveWallClock(absl::Hours(GetParam()));
    moved_ += absl::Hours(GetParam());
  }

  // Whether an event comes in time. The wait is one of the kernel, which follows the monotonic
  // clock.
  bool Next(absl::Duration timeout) {
    void* tag = nullptr;
    bool ok = false;
    return queue_.AsyncNext(&tag, &ok, After(timeout)) == grpc::CompletionQueue::GOT_EVENT;
  }

  absl::Duration moved_;
  grpc::CompletionQueue queue_;
};

TEST_P(WallClockTest, AlarmsRing) {
  for (int i = 0; i < 5; ++i) {
    grpc::Alarm alarm;
    alarm.Set(&queue_, After(kSoon), nullptr);
    SetClock();
    ASSERT_TRUE(Next(kPatience));
  }
}

TEST_P(WallClockTest, AlarmsDoNotRingEarly) {
  grpc::Alarm later;
  later.Set(&queue_, After(absl::Minutes(1)), nullptr);
  SetClock();
  EXPECT_FALSE(Next(kSoon));
  later.Cancel();
  EXPECT_TRUE(Next(kPatience));
}

TEST_P(WallClockTest, ACallEndsByItsDeadline) {
  SilentService service;
  grpc::ServerBuilder builder;
  SetUpServer(4 << 20, builder);
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  grpc::GenericStub stub(
      grpc::CreateChannel(absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(After(kSoon));
  grpc::ByteBuffer answer;
  grpc::Status status;
  const auto call = stub.PrepareUnaryCall(&context, "/silent/Call", grpc::ByteBuffer(), &queue_);
  call->StartCall();
  call->Finish(&answer, &status, nullptr);
  SetClock();
  const bool ended = Next(kPatience);
  EXPECT_TRUE(ended);
  if (!ended) {
    context.TryCancel();
    Next(kPatience);
  }
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED) << status.error_message();
}

TEST_P(WallClockTest, AChannelConnectsAgain) {
  // A port that refuses connections until it is listened on.
  const int port_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  ASSERT_EQ(bind(port_fd, reinterpret_cast<const sockaddr*>(&address), length), 0);
  ASSERT_EQ(getsockname(port_fd, reinterpret_cast<sockaddr*>(&address), &length), 0);
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS,
                   static_cast<int>(absl::ToInt64Milliseconds(kSoon)));
  const std::shared_ptr<grpc::Channel> channel =
      grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", ntohs(address.sin_port)),
                                grpc::InsecureChannelCredentials(), arguments);
  for (grpc_connectivity_state state = channel->GetState(true);
       state != GRPC_CHANNEL_TRANSIENT_FAILURE; state = channel->GetState(true)) {
    ASSERT_TRUE(channel->WaitForStateChange(state, After(kPatience)));
  }
  SetClock();
  ASSERT_EQ(listen(port_fd, 1), 0);
  pollfd polled{port_fd, POLLIN, 0};
  EXPECT_EQ(poll(&polled, 1, static_cast<int>(absl::ToInt64Milliseconds(kPatience))), 1);
  close(port_fd);
}

INSTANTIATE_TEST_SUITE_P(Hours, WallClockTest, testing::Values(1, -1), [](const auto& info) {
  return info.param > 0 ? "Forwards" : "Backwards";
});

}  // namespace
}  // namespace phalanx
