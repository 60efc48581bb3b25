#include "worker/group/unix_socket.h"

#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <string>
#include <thread>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

constexpr absl::Duration kLong = absl::Minutes(1);
constexpr uid_t kNobody = 65534;

TEST(UnixSocketTest, AbstractAddressesConnect) {
  const std::string address = UnusedAbstractAddress();
  auto listener = UnixListener::Create(address);
  ASSERT_TRUE(listener.ok()) << listener.status();
  auto client = ConnectUnix(address, kLong);
  ASSERT_TRUE(client.ok()) << client.status();
  auto accepted = listener->Accept();
  ASSERT_TRUE(accepted.ok()) << accepted.status();
  EXPECT_EQ(PeerPid(*accepted), getpid());
  EXPECT_EQ(UnixListener::Create(address).status().code(), absl::StatusCode::kUnavailable);
}

TEST(UnixSocketTest, APathIsRemovedWithItsListener) {
  char name[] = "/tmp/phalanx_socket_XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  const std::string path = std::string(name) + "/group";
  {
    auto listener = UnixListener::Create(path);
    ASSERT_TRUE(listener.ok()) << listener.status();
    EXPECT_TRUE(ConnectUnix(path, kLong).ok());
    EXPECT_EQ(access(path.c_str(), F_OK), 0);
  }
  EXPECT_EQ(rmdir(name), 0) << "the socket is left";
}

TEST(UnixSocketTest, RefusesAddressesThatCannotBe) {
  for (const std::string& address : {std::string(), std::string(108, 'x')}) {
    EXPECT_EQ(UnixListener::Create(address).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ConnectUnix(address, kLong).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(UnixSocketTest, ConnectGivesUpAtTheTimeoutOrWhenInterrupted) {
  const std::string address = UnusedAbstractAddress();
  EXPECT_EQ(ConnectUnix(address, absl::ZeroDuration()).status().code(),
            absl::StatusCode::kUnavailable);
  const UniqueFd interrupt(eventfd(1, EFD_CLOEXEC));
  EXPECT_EQ(ConnectUnix(address, kLong, interrupt.get()).status().code(),
            absl::StatusCode::kCancelled);
}

TEST(UnixSocketTest, EachEndRefusesAnotherUser) {
  const std::string address = UnusedAbstractAddress();
  auto listener = UnixListener::Create(address);
  ASSERT_TRUE(listener.ok()) << listener.status();
  std::optional<absl::Status> connected;
  std::thread other_user([&] {
    // The system call changes this thread alone, unlike the library's function.
    if (syscall(SYS_setresuid, -1, kNobody, -1) != 0) return;
    connected = ConnectUnix(address, kLong).status();
  });
  other_user.join();
  if (!connected.has_value()) GTEST_SKIP() << "only root can be somebody else";
  EXPECT_EQ(connected->code(), absl::StatusCode::kPermissionDenied) << *connected;
  EXPECT_EQ(listener->Accept().status().code(), absl::StatusCode::kPermissionDenied);
}

}  // namespace
}  // namespace phalanx
