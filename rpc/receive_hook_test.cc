#include "rpc/receive_hook.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cctype>
#include <cerrno>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

struct SocketPair {
  SocketPair() { EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()), 0); }
  ~SocketPair() {
    for (const int end : ends) close(end);
  }
  void Send(const std::string& bytes) {
    ASSERT_EQ(send(ends[0], bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }
  std::array<int, 2> ends;
};

// Receives with one recvmsg, into buffers of 3 and `size` - 3 bytes. Returns the bytes of both
// buffers and then what recvmsg returned.
std::string Receive(int socket, size_t size = 100, int flags = 0) {
  std::string first(3, '_');
  std::string second(size - 3, '_');
  iovec pieces[] = {{first.data(), first.size()}, {second.data(), second.size()}};
  msghdr message = {};
  message.msg_iov = pieces;
  message.msg_iovlen = 2;
  const ssize_t received = recvmsg(socket, &message, flags);
  if (received < 0) return "errno " + std::to_string(errno);
  return (first + second).substr(0, received) + " " + std::to_string(received);
}

ReceiveFilter UpperCase() {
  return [](absl::Span<char> bytes) {
    for (char& byte : bytes) byte = static_cast<char>(toupper(byte));
    return true;
  };
}

TEST(ReceiveHookTest, TheReaderSeesWhatTheFilterLeft) {
  SocketPair pair;
  SetReceiveFilter(pair.ends[1], UpperCase());
  pair.Send("abcdefgh");
  EXPECT_EQ(Receive(pair.ends[1], 5), "ABCDE 5");
  EXPECT_EQ(Receive(pair.ends[1]), "FGH 3");
  EXPECT_EQ(Receive(pair.ends[1]), "errno " + std::to_string(EAGAIN));
  pair.Send("ij");
  EXPECT_EQ(Receive(pair.ends[1]), "IJ 2");
}

TEST(ReceiveHookTest, ALookAheadIsNotFiltered) {
  SocketPair pair;
  std::string seen;
  SetReceiveFilter(pair.ends[1], [&](absl::Span<char> bytes) {
    seen.append(bytes.data(), bytes.size());
    return true;
  });
  pair.Send("abcd");
  EXPECT_EQ(Receive(pair.ends[1], 100, MSG_ERRQUEUE), "abcd 4")
      << "Unix sockets have no such queue";
  pair.Send("abcd");
  EXPECT_EQ(Receive(pair.ends[1], 100, MSG_PEEK), "abcd 4");
  EXPECT_EQ(seen, "");
  EXPECT_EQ(Receive(pair.ends[1]), "abcd 4");
  EXPECT_EQ(seen, "abcd");
}

TEST(ReceiveHookTest, OtherSocketsAreLeftAlone) {
  SocketPair filtered;
  SocketPair plain;
  SetReceiveFilter(filtered.ends[1], UpperCase());
  plain.Send("abc");
  EXPECT_EQ(Receive(plain.ends[1]), "abc 3");
}

TEST(ReceiveHookTest, AFilterMayEndTheConnection) {
  SocketPair pair;
  SetReceiveFilter(pair.ends[1], [](absl::Span<char> bytes) { return bytes[0] != 'x'; });
  pair.Send("abcdef");
  EXPECT_EQ(Receive(pair.ends[1]), "abcdef 6");
  pair.Send("abcxef");
  EXPECT_EQ(Receive(pair.ends[1]), " 0");
}

TEST(ReceiveHookTest, ALaterSocketOfTheSameNumberHasNoFilter) {
  auto pair = std::make_unique<SocketPair>();
  const std::array<int, 2> ends = pair->ends;
  const auto alive = std::make_shared<int>();
  SetReceiveFilter(ends[1], [alive](absl::Span<char>) { return false; });
  pair.reset();
  SocketPair later;
  ASSERT_EQ(later.ends, ends);
  later.Send("abc");
  EXPECT_EQ(Receive(later.ends[1]), "abc 3");
  EXPECT_EQ(alive.use_count(), 1) << "the filter was not let go";
}

TEST(ReceiveHookTest, TheFilterIsLetGoWhenTheConnectionEnds) {
  SocketPair pair;
  const auto alive = std::make_shared<int>();
  SetReceiveFilter(pair.ends[1], [alive](absl::Span<char>) { return true; });
  shutdown(pair.ends[0], SHUT_WR);
  EXPECT_EQ(Receive(pair.ends[1]), " 0");
  EXPECT_EQ(alive.use_count(), 1);
}

TEST(ReceiveHookTest, ManyThreadsReceive) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] {
      for (int round = 0; round < 200; ++round) {
        SocketPair pair;
        SetReceiveFilter(pair.ends[1], UpperCase());
        pair.Send("abcd");
        EXPECT_EQ(Receive(pair.ends[1]), "ABCD 4");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace phalanx
