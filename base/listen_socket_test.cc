#include "base/listen_socket.h"

#include <fcntl.h>
#include <unistd.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

using testing::HasSubstr;

TEST(ListenSocketTest, ListensWhereItIsTold) {
  for (const char* host : {"127.0.0.1", "0.0.0.0", "::", "localhost"}) {
    const absl::StatusOr<ListenSocket> socket = Listen({host, 0});
    ASSERT_TRUE(socket.ok()) << socket.status();
    EXPECT_GT(socket->port, 0);
    EXPECT_NE(fcntl(socket->fd, F_GETFD) & FD_CLOEXEC, 0);
    EXPECT_NE(fcntl(socket->fd, F_GETFL) & O_NONBLOCK, 0);
    close(socket->fd);
  }
}

TEST(ListenSocketTest, SaysWhyNot) {
  const absl::StatusOr<ListenSocket> socket = Listen({"127.0.0.1", 0});
  ASSERT_TRUE(socket.ok());
  const absl::Status taken = Listen({"127.0.0.1", socket->port}).status();
  EXPECT_EQ(taken.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(taken.message(), HasSubstr("Address already in use"));
  // Listening at every address needs that one as well.
  EXPECT_THAT(Listen({"::", socket->port}).status().message(), HasSubstr("already in use"));
  close(socket->fd);
  // An address from a range for documentation, which no machine has.
  EXPECT_THAT(Listen({"192.0.2.1", 0}).status().message(),
              HasSubstr("cannot listen on 192.0.2.1:0: Cannot assign requested address"));
  EXPECT_THAT(Listen({"no.such.host.invalid", 1}).status().message(),
              HasSubstr("cannot listen on no.such.host.invalid:1: "));
}

}  // namespace
}  // namespace phalanx
