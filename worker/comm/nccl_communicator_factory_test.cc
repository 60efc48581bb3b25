#include "worker/comm/nccl_communicator_factory.h"

#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "worker/comm/testing/nccl_stand_in.h"

namespace phalanx {
namespace {

TEST(NcclCommunicatorFactoryTest, RanksMeetByTheLeadersId) {
  NcclCommunicatorFactory factory(NcclStandIn(), {});
  auto meeting = factory.Meet(2, absl::Minutes(1));
  ASSERT_TRUE(meeting.ok()) << meeting.status();
  EXPECT_EQ(meeting->communicator->rank(), 0);
  EXPECT_EQ(meeting->invitation.fd, -1);
  EXPECT_EQ(meeting->invitation.rendezvous.size(), 128u);
  auto joined = factory.Join(meeting->invitation, 1, 2, absl::Minutes(1));
  ASSERT_TRUE(joined.ok()) << joined.status();
  EXPECT_EQ((*joined)->rank(), 1);
  EXPECT_EQ((*joined)->world(), 2);
  std::thread other([&] { EXPECT_TRUE((*joined)->Barrier().ok()); });
  EXPECT_TRUE(meeting->communicator->Barrier().ok());
  other.join();
}

TEST(NcclCommunicatorFactoryTest, EveryMeetingHasAnIdOfItsOwn) {
  NcclCommunicatorFactory factory(NcclStandIn(), {});
  const auto first = factory.Meet(2, absl::Minutes(1));
  const auto second = factory.Meet(2, absl::Minutes(1));
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_NE(first->invitation.rendezvous, second->invitation.rendezvous);
}

TEST(NcclCommunicatorFactoryTest, TheTimeoutIsThatOfTheCommunicator) {
  NcclCommunicatorFactory factory(NcclStandIn(), {});
  const auto meeting = factory.Meet(2, absl::Milliseconds(1));
  ASSERT_TRUE(meeting.ok()) << meeting.status();
  EXPECT_EQ(meeting->communicator->Barrier().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(NcclCommunicatorFactoryTest, AGroupOfOneNeedsNoNccl) {
  const NcclApi none;
  NcclCommunicatorFactory factory(none, {});
  const auto meeting = factory.Meet(1, absl::Minutes(1));
  ASSERT_TRUE(meeting.ok()) << meeting.status();
  EXPECT_EQ(meeting->invitation.rendezvous, "");
  EXPECT_TRUE(meeting->communicator->Barrier().ok());
  EXPECT_TRUE(meeting->communicator->CheckQueued().ok());
}

TEST(NcclCommunicatorFactoryTest, InvitationsOfOtherTransportsAreRefusedAndClosed) {
  NcclCommunicatorFactory factory(NcclStandIn(), {});
  const int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(factory.Join({.fd = fd}, 1, 2, absl::Minutes(1)).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(fcntl(fd, F_GETFD), -1);
  EXPECT_EQ(
      factory.Join({.rendezvous = std::string(127, 'x')}, 1, 2, absl::Minutes(1)).status().code(),
      absl::StatusCode::kInvalidArgument);
}

TEST(NcclCommunicatorFactoryTest, ErrorsOfNcclArePassedOn) {
  NcclApi api = NcclStandIn();
  api.GetUniqueId = [](NcclUniqueId*) { return NcclResult::kSystemError; };
  NcclCommunicatorFactory factory(api, {});
  EXPECT_EQ(factory.Meet(2, absl::Minutes(1)).status().code(), absl::StatusCode::kUnavailable);
  // An id that nobody made.
  EXPECT_EQ(
      factory.Join({.rendezvous = std::string(128, 'x')}, 1, 2, absl::Minutes(1)).status().code(),
      absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace phalanx
