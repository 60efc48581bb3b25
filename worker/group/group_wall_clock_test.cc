// The wall clock is set, again and again, while a group forms, works and ends.
#include <future>

#include "base/testing/wall_clock_steps.h"
#include "gtest/gtest.h"
#include "worker/group/testing/group_fixture.h"

namespace phalanx {
namespace {

using GroupWallClockTest = GroupTest;

TEST_F(GroupWallClockTest, StepsForwardEndNoWait) {
  const WallClockSteps steps(absl::Hours(1));
  leader_options_.world = 2;
  std::future<absl::Status> member = StartMember(1);
  StartLeader();
  EXPECT_TRUE(Execute(1).ok());
  leader_->Stop(absl::Minutes(1));
  EXPECT_TRUE(member.get().ok());
}

TEST_F(GroupWallClockTest, StepsBackwardProlongNoWait) {
  const WallClockSteps steps(absl::Hours(-1));
  leader_options_.world = 2;
  leader_options_.step_timeout = absl::Milliseconds(20);
  std::promise<void> lost;
  std::thread hanging([&] {
    const RankChannel channel = JoinByHand(1);
    lost.get_future().wait();
  });
  StartLeader();
  EXPECT_EQ(Execute(1).status().code(), absl::StatusCode::kUnavailable);
  lost.set_value();
  hanging.join();
}

TEST_F(GroupWallClockTest, StepsBackwardDoNotProlongForming) {
  const WallClockSteps steps(absl::Hours(-1));
  leader_options_.world = 2;
  leader_options_.startup_timeout = absl::Milliseconds(20);
  EXPECT_EQ(Form(leader_options_).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ConnectUnix(UnusedAbstractAddress(), absl::Milliseconds(20)).status().code(),
            absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace phalanx
