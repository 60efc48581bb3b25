#include "worker/group/rank_reception.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/unique_fd.h"
#include "gtest/gtest.h"
#include "worker/group/unix_socket.h"

namespace phalanx {
namespace {

constexpr absl::Duration kPatience = absl::Minutes(5);

class RankReceptionTest : public testing::Test {
 protected:
  RankReceptionTest() : RankReceptionTest(UnusedAbstractAddress()) {}

  UniqueFd Connect() {
    auto socket = ConnectUnix(address_, kPatience);
    CHECK_OK(socket.status());
    return *std::move(socket);
  }

  static void SayJoin(RankChannel& channel, int rank) {
    worker::v1::RankMessage message;
    message.mutable_join()->set_rank(rank);
    CHECK_OK(channel.Send(message));
  }

  std::vector<int> Fds() const {
    std::vector<int> fds;
    reception_.AppendFds(&fds);
    return fds;
  }

  const std::string address_;
  RankReception reception_;

 private:
  explicit RankReceptionTest(const std::string& address)
      : address_(address), reception_(ListenForRanks({address}).value(), kPatience) {}
};

TEST_F(RankReceptionTest, HearsEachConnectionUntilItJoins) {
  EXPECT_EQ(reception_.next_deadline(), absl::InfiniteFuture());
  RankChannel first(Connect()), second(Connect());
  EXPECT_TRUE(reception_.Receive().empty());
  EXPECT_EQ(Fds().size(), 3u) << "the listener and two that have said nothing";
  SayJoin(second, 2);
  const std::vector<RankReception::Arrival> arrivals = reception_.Receive();
  ASSERT_EQ(arrivals.size(), 1u);
  EXPECT_EQ(arrivals[0].join.rank(), 2u);
  EXPECT_EQ(arrivals[0].pid, getpid());
  EXPECT_EQ(Fds().size(), 2u);
  SayJoin(first, 1);
  EXPECT_EQ(reception_.Receive().at(0).join.rank(), 1u);
  EXPECT_EQ(reception_.next_deadline(), absl::InfiniteFuture());
}

TEST_F(RankReceptionTest, TheConnectionThatCameFirstIsDueFirst) {
  const absl::Time before = MonotonicClock()->Now();
  const UniqueFd first = Connect();
  reception_.Receive();
  const absl::Time due = reception_.next_deadline();
  EXPECT_GE(due, before + kPatience);
  EXPECT_LE(due, MonotonicClock()->Now() + kPatience);
  const UniqueFd second = Connect();
  reception_.Receive();
  EXPECT_EQ(Fds().size(), 3u);
  EXPECT_EQ(reception_.next_deadline(), due);
}

TEST_F(RankReceptionTest, WhoeverSaysSomethingElseIsTurnedAway) {
  RankChannel wrong(Connect());
  worker::v1::RankMessage message;
  message.mutable_pulse();
  ASSERT_TRUE(wrong.Send(message).ok());
  EXPECT_TRUE(reception_.Receive().empty());
  EXPECT_EQ(Fds().size(), 1u);
}

// Without descriptors nothing can be accepted: then the listener is left alone for a moment, so
// that its readiness does not keep the caller busy.
TEST_F(RankReceptionTest, PausesWhenTheSystemCannotAccept) {
  const UniqueFd first = Connect();
  reception_.Receive();
  const absl::Time due = reception_.next_deadline();
  const UniqueFd second = Connect();
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const int next_fd = fcntl(second.get(), F_DUPFD_CLOEXEC, 0);
  close(next_fd);
  const rlimit none{.rlim_cur = static_cast<rlim_t>(next_fd), .rlim_max = limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  EXPECT_TRUE(reception_.Receive().empty());
  const absl::Time again = reception_.next_deadline();
  const std::vector<int> fds = Fds();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(fds.size(), 2u);
  // The listener is left alone, unless this thread was held up for longer than the pause.
  if (fds[0] == -1) {
    EXPECT_LT(again, due);
  }
  // Once the pause is over, the one that waited comes in.
  while (Fds().size() < 3) reception_.Receive();
}

}  // namespace
}  // namespace phalanx
