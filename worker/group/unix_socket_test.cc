#include "worker/group/unix_socket.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
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

class SocketPathTest : public testing::Test {
 protected:
  SocketPathTest() {
    char name[] = "/tmp/phalanx_socket_XXXXXX";
    EXPECT_NE(mkdtemp(name), nullptr);
    folder_ = name;
    path_ = folder_ + "/group";
  }
  ~SocketPathTest() override { EXPECT_EQ(rmdir(folder_.c_str()), 0) << "something is left"; }

  std::string folder_;
  std::string path_;
};

// What is left of a listener that was killed: the socket's file and the lock's.
TEST_F(SocketPathTest, AListenerThatWasKilledIsReplaced) {
  const pid_t child = fork();
  if (child == 0) {
    const auto listener = UnixListener::Create(path_);
    raise(listener.ok() ? SIGKILL : SIGABRT);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(WTERMSIG(status), SIGKILL);
  ASSERT_EQ(access(path_.c_str(), F_OK), 0);
  const auto listener = UnixListener::Create(path_);
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_TRUE(ConnectUnix(path_, kLong).ok());
}

TEST_F(SocketPathTest, AListenerThatLivesIsNot) {
  const auto listener = UnixListener::Create(path_);
  ASSERT_TRUE(listener.ok()) << listener.status();
  const absl::Status second = UnixListener::Create(path_).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(second.message(), "another process listens on " + path_);
  EXPECT_TRUE(ConnectUnix(path_, kLong).ok());
}

TEST_F(SocketPathTest, ASocketOfAnotherProgramIsLeftAlone) {
  const UniqueFd other(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  path_.copy(address.sun_path, path_.size());
  ASSERT_EQ(bind(other.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(other.get(), 1), 0);
  // Left over from an earlier call: a connect that succeeds does not change it.
  errno = ECONNREFUSED;
  EXPECT_EQ(UnixListener::Create(path_).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(ConnectUnix(path_, kLong).ok());
  unlink(path_.c_str());
}

TEST_F(SocketPathTest, AFileThatIsNoSocketIsLeftAlone) {
  { const UniqueFd file(open(path_.c_str(), O_CREAT | O_CLOEXEC, 0600)); }
  EXPECT_EQ(UnixListener::Create(path_).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(unlink(path_.c_str()), 0);
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
