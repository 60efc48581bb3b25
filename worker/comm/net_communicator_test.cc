// What the network transport does beyond what every transport does
// (testing/communicator_suite.h).
#include "worker/comm/net_communicator.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "worker/comm/net_communicator_factory.h"

namespace phalanx {
namespace {

using kernels::DType;
using ::testing::HasSubstr;

constexpr uint64_t kGroup = 7;
using Stream = std::unique_ptr<StreamSocket>;
using Comm = std::unique_ptr<NetCommunicator>;

// Two connected streams.
std::pair<Stream, Stream> MakePair() {
  int fds[2] = {-1, -1};
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  return {StreamSocket::Adopt(UniqueFd(fds[0])), StreamSocket::Adopt(UniqueFd(fds[1]))};
}

// One of two ranks, whose peer is at the other end of `stream`.
Comm MakeRank(int rank, Stream stream, absl::Duration timeout = absl::Minutes(1)) {
  auto mesh = std::make_shared<NetMesh>();
  mesh->group = kGroup;
  mesh->streams.resize(2);
  mesh->streams[1 - rank] = std::move(stream);
  auto comm = NetCommunicator::Create(
      rank, 2, [mesh](int) -> absl::StatusOr<NetMesh> { return std::move(*mesh); },
      {.timeout = timeout});
  EXPECT_TRUE(comm.ok()) << comm.status();
  return *std::move(comm);
}

std::pair<Comm, Comm> MakeRanks() {
  auto [a, b] = MakePair();
  return {MakeRank(0, std::move(a)), MakeRank(1, std::move(b))};
}

class Data {
 public:
  explicit Data(int64_t count) : values_(count) {}

  absl::Status Sum(Communicator& comm) {
    return comm.AllReduceSum(
        *stream_, {values_.data(), DType::kF32, 1, static_cast<int64_t>(values_.size())});
  }
  kernels::Stream& stream() { return *stream_; }

 private:
  std::vector<float> values_;
  const std::unique_ptr<kernels::Backend> backend_ = kernels::MakeReferenceBackend();
  const std::unique_ptr<kernels::Stream> stream_ = backend_->NewStream();
};

absl::Span<const std::byte> BytesOf(const NetFrame& frame) {
  return {reinterpret_cast<const std::byte*>(&frame), sizeof(frame)};
}

TEST(NetCommunicatorTest, AMessageOfAnotherFormingOfTheGroupIsNotTaken) {
  auto [mine, theirs] = MakePair();
  const Comm comm = MakeRank(0, std::move(mine));
  const NetFrame late = {.group = kGroup - 1, .sequence = 1, .kind = NetCollective::kBarrier};
  ASSERT_TRUE(theirs->Write(BytesOf(late), absl::InfiniteFuture()).ok());
  const absl::Status status = comm->Barrier();
  EXPECT_TRUE(absl::IsInternal(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("rank 1 sent a message that is not of this"));
}

TEST(NetCommunicatorTest, AMessageThatComesTwiceIsNotTaken) {
  auto [mine, theirs] = MakePair();
  const Comm comm = MakeRank(0, std::move(mine));
  const NetFrame barrier = {.group = kGroup, .sequence = 1, .kind = NetCollective::kBarrier};
  ASSERT_TRUE(theirs->Write(BytesOf(barrier), absl::InfiniteFuture()).ok());
  ASSERT_TRUE(theirs->Write(BytesOf(barrier), absl::InfiniteFuture()).ok());
  EXPECT_TRUE(comm->Barrier().ok());
  const absl::Status status = comm->Barrier();
  EXPECT_EQ(status, absl::InternalError(
                        "the ranks disagree: rank 1 is at collective 1, a barrier, this one at "
                        "collective 2, a barrier"));
}

TEST(NetCommunicatorTest, RanksThatDisagreeAreToldBothCalls) {
  auto [first, second] = MakeRanks();
  Data data(576);
  std::thread other([&second = second] {
    const absl::Status status = second->Barrier();
    // The first one may have hung up already.
    EXPECT_TRUE(absl::IsInternal(status) || absl::IsUnavailable(status)) << status;
  });
  const absl::Status status = data.Sum(*first);
  other.join();
  EXPECT_EQ(status, absl::InternalError(
                        "the ranks disagree: rank 1 is at collective 1, a barrier, this one at "
                        "collective 1, a sum of 2304 bytes of float32"));
}

TEST(NetCommunicatorTest, RanksThatDisagreeAboutALengthAreToldBoth) {
  auto [first, second] = MakeRanks();
  std::thread other([&second = second] {
    Data data(4);
    EXPECT_FALSE(data.Sum(*second).ok());
  });
  Data data(3);
  const absl::Status status = data.Sum(*first);
  other.join();
  EXPECT_TRUE(absl::IsInternal(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("a sum of 16 bytes of float32"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("a sum of 12 bytes of float32"));
}

TEST(NetCommunicatorTest, APeerThatSendsHalfAMessageIsNamedAtTheDeadline) {
  auto [mine, theirs] = MakePair();
  const Comm comm = MakeRank(0, std::move(mine), absl::Milliseconds(20));
  const NetFrame frame = {
      .group = kGroup, .sequence = 1, .bytes = 8, .kind = NetCollective::kSumF32};
  ASSERT_TRUE(theirs->Write(BytesOf(frame), absl::InfiniteFuture()).ok());
  Data data(2);
  const absl::Status status = data.Sum(*comm);
  EXPECT_EQ(status, absl::DeadlineExceededError("rank 1 did not come to a collective in time"));
  EXPECT_GT(comm->wait_time(), absl::ZeroDuration());
}

TEST(NetCommunicatorTest, APeerThatTakesNothingIsNamedAtTheDeadline) {
  auto [mine, theirs] = MakePair();
  const Comm comm = MakeRank(0, std::move(mine), absl::Milliseconds(20));
  Data data(1);
  std::vector<char> much(size_t{8} << 20);
  EXPECT_EQ(comm->Broadcast(data.stream(), much.data(), much.size()),
            absl::DeadlineExceededError("rank 1 did not take the data of a collective in time"));
}

TEST(NetCommunicatorTest, TheEndOfAPeerIsTheEndOfACallInTheMiddleOfAMessage) {
  auto [mine, theirs] = MakePair();
  const Comm comm = MakeRank(0, std::move(mine));
  const NetFrame frame = {
      .group = kGroup, .sequence = 1, .bytes = 8, .kind = NetCollective::kSumF32};
  ASSERT_TRUE(theirs->Write(BytesOf(frame), absl::InfiniteFuture()).ok());
  theirs.reset();
  Data data(2);
  const absl::Status status = data.Sum(*comm);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("rank 1 at "));
}

TEST(NetCommunicatorTest, WhatAPeerSentBeforeItLeftIsTaken) {
  auto [first, second] = MakeRanks();
  uint64_t word = 5;
  Data data(1);
  ASSERT_TRUE(first->Broadcast(data.stream(), &word, sizeof(word)).ok());
  first.reset();
  word = 0;
  ASSERT_TRUE(second->Broadcast(data.stream(), &word, sizeof(word)).ok());
  EXPECT_EQ(word, 5u);
}

// Rather than as long as a host may be silent, which is less than a long computation takes.
TEST(NetCommunicatorTest, APeerMayLeaveDataUnreadForAsLongAsACallWaits) {
  auto listener = StreamListener::Create({"127.0.0.1", 0}, nullptr);
  ASSERT_TRUE(listener.ok()) << listener.status();
  auto mine =
      StreamSocket::Connect({"127.0.0.1", listener->port()}, nullptr, absl::InfiniteFuture());
  ASSERT_TRUE(mine.ok()) << mine.status();
  const int fd = (*mine)->fd();
  auto theirs = listener->Accept();
  ASSERT_TRUE(theirs.ok()) << theirs.status();
  const Comm first = MakeRank(0, *std::move(mine), absl::Seconds(77));
  const Comm second = MakeRank(1, *std::move(theirs));
  std::thread other([&] { EXPECT_TRUE(second->Barrier().ok()); });
  EXPECT_TRUE(first->Barrier().ok());
  other.join();
  int milliseconds = 0;
  socklen_t size = sizeof(milliseconds);
  ASSERT_EQ(getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, &size), 0);
  EXPECT_EQ(milliseconds, 77'000);
}

TEST(NetCommunicatorTest, TheFirstCallWaitsForTheRanksToBeConnectedAndNotLonger) {
  auto comm = NetCommunicator::Create(0, 3,
                                      [](int interrupt_fd) -> absl::StatusOr<NetMesh> {
                                        pollfd interrupt = {
                                            .fd = interrupt_fd, .events = POLLIN, .revents = 0};
                                        poll(&interrupt, 1, -1);
                                        return absl::CancelledError("interrupted");
                                      },
                                      {.timeout = absl::Milliseconds(20)});
  ASSERT_TRUE(comm.ok()) << comm.status();
  EXPECT_EQ((*comm)->Barrier(), absl::DeadlineExceededError(
                                    "not all of 3 ranks came to form a communicator within 20ms"));
}

TEST(NetCommunicatorTest, TheErrorOfConnectingIsThatOfTheCalls) {
  auto comm = NetCommunicator::Create(
      0, 2, [](int) -> absl::StatusOr<NetMesh> { return absl::UnavailableError("no way"); }, {});
  ASSERT_TRUE(comm.ok()) << comm.status();
  EXPECT_EQ((*comm)->Barrier(), absl::UnavailableError("no way"));
  EXPECT_EQ((*comm)->Barrier(), absl::UnavailableError("no way"));
}

TEST(NetCommunicatorFactoryTest, InvitationsOfOthersAreRefused) {
  NetCommunicatorFactory factory({.listen_host = "127.0.0.1", .leader_host = "127.0.0.1"});
  for (const std::string& bytes : {std::string(), std::string(18, '\0'), std::string(128, 'x')}) {
    EXPECT_TRUE(absl::IsInvalidArgument(
        factory.Join({.rendezvous = bytes}, 1, 2, absl::Minutes(1)).status()));
  }
}

TEST(NetCommunicatorFactoryTest, ARankThatIsAloneNeedsNoNetwork) {
  NetCommunicatorFactory factory({.listen_host = "no.such.host.invalid"});
  auto meeting = factory.Meet(1, absl::Minutes(1));
  ASSERT_TRUE(meeting.ok()) << meeting.status();
  EXPECT_TRUE(meeting->communicator->Barrier().ok());
}

}  // namespace
}  // namespace phalanx
