#include "worker/comm/shm_communicator_factory.h"

#include <fcntl.h>
#include <unistd.h>

#include <thread>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

TEST(ShmCommunicatorFactoryTest, RanksMeetByTheLeadersDescriptor) {
  ShmCommunicatorFactory factory;
  auto meeting = factory.Meet(2, absl::Minutes(1));
  ASSERT_TRUE(meeting.ok()) << meeting.status();
  EXPECT_EQ(meeting->communicator->rank(), 0);
  // A copy, as a rank gets it.
  auto joined = factory.Join({.fd = dup(meeting->invitation.fd)}, 1, 2, absl::Minutes(1));
  ASSERT_TRUE(joined.ok()) << joined.status();
  EXPECT_EQ((*joined)->rank(), 1);
  EXPECT_EQ((*joined)->world(), 2);
  std::thread other([&] { EXPECT_TRUE((*joined)->Barrier().ok()); });
  EXPECT_TRUE(meeting->communicator->Barrier().ok());
  other.join();
}

TEST(ShmCommunicatorFactoryTest, TheTimeoutIsThatOfTheCommunicator) {
  ShmCommunicatorFactory factory;
  const auto meeting = factory.Meet(2, absl::Milliseconds(1));
  ASSERT_TRUE(meeting.ok()) << meeting.status();
  EXPECT_EQ(meeting->communicator->Barrier().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(ShmCommunicatorFactoryTest, ADescriptorOfSomethingElseIsRefused) {
  const int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(ShmCommunicatorFactory().Join({.fd = fd}, 1, 2, absl::Minutes(1)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ShmCommunicatorFactoryTest, AnInvitationWithoutADescriptorIsRefused) {
  EXPECT_EQ(ShmCommunicatorFactory().Join({}, 1, 2, absl::Minutes(1)).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace phalanx
