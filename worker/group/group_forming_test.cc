// How a group forms, and why it may not.
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdlib>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "worker/group/group_fixture.h"

namespace phalanx {
namespace {

using GroupFormingTest = GroupTest;

constexpr char kAddressVariable[] = "PHALANX_TEST_ADDRESS";

TEST_F(GroupFormingTest, RefusesARankWithAnotherModel) {
  leader_options_.world = 2;
  GroupMember::Options options = MemberOptions(1);
  options.fingerprint = "other";
  std::future<absl::Status> member =
      std::async(std::launch::async, [=] { return RunMember(options); });
  const absl::Status status = GroupLeader::Start(leader_options_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("other"), absl::string_view::npos) << status;
  EXPECT_FALSE(member.get().ok());
}

TEST_F(GroupFormingTest, RefusesARankOfAnotherWorld) {
  leader_options_.world = 2;
  GroupMember::Options options = MemberOptions(1);
  options.world = 3;
  std::future<absl::Status> member =
      std::async(std::launch::async, [=] { return RunMember(options); });
  EXPECT_EQ(GroupLeader::Start(leader_options_).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(member.get().ok());
}

TEST_F(GroupFormingTest, RefusesARankThatJoinsTwice) {
  leader_options_.world = 3;
  std::future<absl::Status> first = StartMember(1);
  std::future<absl::Status> second = StartMember(1);
  const absl::Status status = GroupLeader::Start(leader_options_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "rank 1 joined twice");
  // The one that was let in may have been told to stop.
  const bool both_left = first.get().ok() && second.get().ok();
  EXPECT_FALSE(both_left);
}

TEST_F(GroupFormingTest, NamesAProcessThatConnectsButDoesNotJoin) {
  leader_options_.world = 2;
  std::thread process(
      [&] { EXPECT_TRUE(ConnectUnix(leader_options_.address, absl::Minutes(1)).ok()); });
  const absl::Status status = GroupLeader::Start(leader_options_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), absl::StrCat("process ", getpid(),
                                           " connected but did not join: the other end has closed "
                                           "the connection"));
  process.join();
}

TEST_F(GroupFormingTest, FormingCanBeInterrupted) {
  leader_options_.world = 2;
  const UniqueFd interrupt(eventfd(1, EFD_CLOEXEC));
  leader_options_.interrupt_fd = interrupt.get();
  EXPECT_EQ(GroupLeader::Start(leader_options_).status().code(), absl::StatusCode::kCancelled);
}

TEST_F(GroupFormingTest, WaitingForRanksThatLoadCanBeInterrupted) {
  leader_options_.world = 2;
  const UniqueFd interrupt(eventfd(0, EFD_CLOEXEC));
  leader_options_.interrupt_fd = interrupt.get();
  leader_options_.on_lost = [](const absl::Status& status) { ADD_FAILURE() << status; };
  auto joining =
      std::async(std::launch::async, [&] { return GroupMember::Join(MemberOptions(1)); });
  auto leader = GroupLeader::Start(leader_options_);
  ASSERT_TRUE(leader.ok()) << leader.status();
  const auto member = joining.get();
  ASSERT_TRUE(member.ok()) << member.status();
  AddingDecoder decoder((*leader)->communicator());
  ASSERT_EQ(eventfd_write(interrupt.get(), 1), 0);
  EXPECT_EQ((*leader)->AwaitReady(&decoder).code(), absl::StatusCode::kCancelled);
}

TEST_F(GroupFormingTest, SaysWhichRankDidNotJoin) {
  leader_options_.world = 2;
  leader_options_.startup_timeout = absl::Milliseconds(1);
  const absl::Status status = GroupLeader::Start(leader_options_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("rank 1 did not join"), absl::string_view::npos) << status;
}

TEST_F(GroupFormingTest, SaysHowAChildEndedThatNeverJoined) {
  leader_options_.world = 2;
  leader_options_.rank_command = [](int) {
    return std::vector<std::string>{"/bin/sh", "-c", "exit 5"};
  };
  const absl::Status status = GroupLeader::Start(leader_options_).status();
  EXPECT_EQ(status.message(), "rank 1 exited with code 5 while the group formed");
}

TEST_F(GroupFormingTest, SaysHowAChildEndedThatConnectedButDidNotJoin) {
  leader_options_.world = 2;
  setenv(kAddressVariable, leader_options_.address.c_str(), 1);
  leader_options_.rank_command = [](int) {
    return std::vector<std::string>{"/proc/self/exe", "--gtest_also_run_disabled_tests",
                                    "--gtest_filter=Child.DISABLED_ConnectsAndEnds"};
  };
  const absl::Status status = GroupLeader::Start(leader_options_).status();
  EXPECT_EQ(status.message(), "rank 1 exited with code 7 while the group formed");
}

// The child of the test above, not a test.
TEST(Child, DISABLED_ConnectsAndEnds) {
  const auto socket = ConnectUnix(getenv(kAddressVariable), absl::Minutes(1));
  _exit(socket.ok() ? 7 : 1);
}

}  // namespace
}  // namespace phalanx
