// Ranks that are stopped or hang, and steps that are broken off.
#include <future>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "worker/group/testing/group_fixture.h"

namespace phalanx {
namespace {

class GroupStallTest : public GroupTest {
 protected:
  GroupStallTest() {
    leader_options_.world = 2;
    leader_options_.stall_timeout = absl::Milliseconds(300);
  }

  // Rank 1 joins, is ready and then says nothing more, like a process that was stopped, until the
  // group is lost.
  std::thread StoppedRank() {
    return std::thread([this] {
      const RankChannel channel = JoinByHand(1);
      release_.get_future().wait();
    });
  }

  std::promise<void> release_;
};

TEST_F(GroupStallTest, ARankThatDoesNotAnswerIsLostWithTheStepThatItHolds) {
  std::thread stopped = StoppedRank();
  StartLeader();
  const absl::Status status = Execute(1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "rank 1 has not answered for 300ms, step 1 (1 tokens) runs");
  EXPECT_EQ(lost_.get_future().get(), status);
  release_.set_value();
  stopped.join();
}

TEST_F(GroupStallTest, ARankThatDoesNotAnswerIsLostWithoutAStep) {
  std::thread stopped = StoppedRank();
  StartLeader();
  EXPECT_EQ(lost_.get_future().get().message(), "rank 1 has not answered for 300ms, no step runs");
  release_.set_value();
  stopped.join();
}

// The monitor wakes for each message, but counts its turns by the clock.
TEST_F(GroupStallTest, ARankThatSaysMuchDoesNotMakeASilentOneLate) {
  leader_options_.world = 3;
  leader_options_.stall_timeout = absl::Seconds(30);
  std::thread silent([this] {
    const RankChannel channel = JoinByHand(2);
    release_.get_future().wait();
  });
  std::promise<void> formed;
  std::thread talkative([&] {
    RankChannel channel = JoinByHand(1);
    formed.get_future().wait();
    worker::v1::RankMessage message;
    for (int i = 0; i < 2000; ++i) {
      message.mutable_pulse()->set_progress(i);
      ASSERT_TRUE(channel.Send(message).ok());
    }
  });
  StartLeader();
  formed.set_value();
  // The talkative one leaves in the end, which the leader reads after all that it said.
  const absl::Status lost = lost_.get_future().get();
  EXPECT_NE(lost.message().find("rank 1 "), absl::string_view::npos) << lost;
  release_.set_value();
  silent.join();
  talkative.join();
}

TEST_F(GroupStallTest, ARankThatLivesButHangsIsNamed) {
  leader_options_.world = 3;
  std::future<absl::Status> healthy = StartMember(1);
  std::future<absl::Status> hanging = std::async(std::launch::async, [this] {
    return RunMember(MemberOptions(2), absl::OkStatus(), [this] { release_.get_future().wait(); });
  });
  StartLeader();
  const absl::Status status = Execute(1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "rank 2 has come no further for 300ms in step 1 (1 tokens)");
  release_.set_value();
  leader_.reset();
  // The leader has given it up, and told the other one to stop.
  EXPECT_FALSE(hanging.get().ok());
  EXPECT_EQ(healthy.get(), absl::OkStatus());
}

TEST_F(GroupStallTest, ALeaderThatHangsItselfIsNoticedByItsMonitor) {
  leader_options_.world = 1;
  StartLeader();
  decoder_->before_reduce = [this] { release_.get_future().wait(); };
  std::thread engine([this] { (void)Execute(1); });
  EXPECT_EQ(lost_.get_future().get().message(),
            "rank 0 has come no further for 300ms in step 1 (1 tokens)");
  release_.set_value();
  engine.join();
}

TEST_F(GroupStallTest, RanksThatLiveAndWaitAreLeftAlone) {
  std::promise<void> quiet;
  int pulses = 0;
  leader_options_.on_pulse = [&](absl::Duration silence) {
    EXPECT_LT(silence, leader_options_.stall_timeout);
    if (++pulses == 30) quiet.set_value();
  };
  std::future<absl::Status> member = StartMember(1);
  StartLeader();
  // Three times the timeout.
  quiet.get_future().wait();
  EXPECT_TRUE(Execute(1).ok());
  leader_->Stop(absl::Minutes(1));
  EXPECT_TRUE(member.get().ok());
}

TEST_F(GroupStallTest, AStepThatIsAbandonedEndsAndIsNoLoss) {
  leader_options_.stall_timeout = absl::Minutes(1);
  leader_options_.on_lost = [](const absl::Status& status) { ADD_FAILURE() << status; };
  std::thread stopped = StoppedRank();
  StartLeader();
  auto step = std::async(std::launch::async, [this] { return Execute(1).status(); });
  leader_->Abandon();
  EXPECT_EQ(step.get().code(), absl::StatusCode::kCancelled);
  leader_->Stop(absl::ZeroDuration());
  release_.set_value();
  stopped.join();
}

}  // namespace
}  // namespace phalanx
