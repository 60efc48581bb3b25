// Groups that lose ranks and form again.
#include <sys/eventfd.h>

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "worker/group/group_leader.h"
#include "worker/group/testing/group_fixture.h"

namespace phalanx {
namespace {

// Ranks are threads that others than the leader start, so that a test decides when one comes back.
class GroupHealingTest : public GroupTest {
 protected:
  GroupHealingTest() {
    leader_options_.world = 3;
    leader_options_.on_lost = [this](const absl::Status&) {
      ++losses_;
      losses_.notify_all();
    };
  }

  ~GroupHealingTest() override {
    if (group_ != nullptr) group_->Stop(absl::ZeroDuration());
    group_.reset();
  }

  void StartGroup() {
    auto group = GroupLeader::Start({.epoch = leader_options_, .restarts = {}});
    ASSERT_TRUE(group.ok()) << group.status();
    group_ = *std::move(group);
    own_ = std::make_unique<AddingDecoder>(group_->communicator());
    const absl::Status ready = group_->AwaitReady(own_.get(), kWeightsDigest, Rejoin());
    ASSERT_TRUE(ready.ok()) << ready;
  }

  GroupLeader::Rejoin Rejoin() {
    return [this](Communicator* communicator) -> absl::StatusOr<Decoder*> {
      own_ = std::make_unique<AddingDecoder>(communicator);
      return own_.get();
    };
  }

  // Blocks until so many losses have been noticed.
  void AwaitLosses(int count) {
    for (int seen = losses_; seen < count; seen = losses_) losses_.wait(seen);
  }

  // A rank that is ready and takes steps until `leave` is set, and then vanishes.
  std::thread RankThatLeaves(int rank, std::future<void> leave) {
    return std::thread([this, rank, leave = std::move(leave)]() mutable {
      auto member = GroupMember::Join(MemberOptions(rank));
      ASSERT_TRUE(member.ok()) << member.status();
      AddingDecoder decoder((*member)->communicator());
      ASSERT_TRUE((*member)->SendReady(decoder, 0, kWeightsDigest, 0).ok());
      leave.wait();
    });
  }

  absl::StatusOr<StepResult> Run(int32_t token) {
    if (absl::Status status = group_->Submit(StepOf(token)); !status.ok()) return status;
    return group_->Await();
  }

  std::atomic<int> losses_ = 0;
  std::unique_ptr<AddingDecoder> own_;
  std::unique_ptr<GroupLeader> group_;
};

TEST_F(GroupHealingTest, ARankThatVanishesIsReplacedAndTheOthersGoOn) {
  std::promise<void> leave;
  std::thread leaving = RankThatLeaves(1, leave.get_future());
  std::future<absl::Status> second = StartMember(2);
  StartGroup();
  EXPECT_EQ(group_->epoch(), 1u);
  leave.set_value();
  leaving.join();
  AwaitLosses(1);
  EXPECT_FALSE(Run(1).ok());
  ASSERT_TRUE(group_->CanHeal());
  std::future<absl::Status> first = StartMember(1);
  const absl::Status healed = group_->Heal(Rejoin(), kWeightsDigest);
  ASSERT_TRUE(healed.ok()) << healed;
  EXPECT_EQ(group_->epoch(), 2u);
  EXPECT_EQ(group_->losses(), 1);
  EXPECT_EQ(group_->rank_restarts(), 1);
  for (int32_t token = 0; token < 10; ++token) {
    EXPECT_EQ(Run(token)->tokens, std::vector<int32_t>{3 * token + 3});
  }
  group_->Stop(absl::Seconds(10));
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(second.get().ok()) << "the rank that was left should have gone on";
}

TEST_F(GroupHealingTest, ALossInTheMiddleOfAStepFreesTheOtherRanks) {
  std::promise<void> leave;
  std::thread leaving = RankThatLeaves(1, leave.get_future());
  std::future<absl::Status> second = StartMember(2);
  StartGroup();
  // Rank 1 takes no part in this step, so the others wait in its all-reduce.
  std::future<absl::Status> step = std::async(std::launch::async, [&] { return Run(1).status(); });
  leave.set_value();
  leaving.join();
  EXPECT_EQ(step.get().code(), absl::StatusCode::kUnavailable);
  AwaitLosses(1);
  std::future<absl::Status> first = StartMember(1);
  ASSERT_TRUE(group_->Heal(Rejoin(), kWeightsDigest).ok());
  EXPECT_EQ(Run(5)->tokens, std::vector<int32_t>{18});
  group_->Stop(absl::Seconds(10));
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(second.get().ok());
}

// The others have launched the first part of a step and wait for the second one.
TEST_F(GroupHealingTest, ALossBetweenTheTwoPartsOfAStepFreesTheOtherRanks) {
  for (const int steps_in_flight : {1, 2}) {
    leader_options_.steps_in_flight = steps_in_flight;
    std::promise<void> leave;
    std::atomic<bool> launched = false;
    std::thread leaving = RankThatLeaves(1, leave.get_future());
    const auto on_forward = [&] {
      launched = true;
      launched.notify_all();
    };
    std::future<absl::Status> second = std::async(std::launch::async, [&] {
      return RunMember(MemberOptions(2), {}, nullptr, kWeightsDigest, on_forward);
    });
    losses_ = 0;
    StartGroup();
    Step step = StepOf(1);
    ASSERT_TRUE(group_->SubmitForward(std::move(step.forward)).ok());
    launched.wait(false);
    leave.set_value();
    leaving.join();
    AwaitLosses(1);
    EXPECT_EQ(group_->SubmitSampling(std::move(step.sampling)).code(),
              absl::StatusCode::kUnavailable);
    EXPECT_FALSE(group_->Await().ok());
    std::future<absl::Status> first = StartMember(1);
    ASSERT_TRUE(group_->Heal(Rejoin(), kWeightsDigest).ok());
    EXPECT_EQ(Run(5)->tokens, std::vector<int32_t>{18});
    group_->Stop(absl::Seconds(10));
    EXPECT_TRUE(first.get().ok());
    EXPECT_TRUE(second.get().ok());
    group_.reset();
  }
}

TEST_F(GroupHealingTest, ARankThatIsLostWhileTheGroupFormsAgainIsReplacedToo) {
  std::promise<void> leave_first;
  std::promise<void> leave_second;
  std::thread first = RankThatLeaves(1, leave_first.get_future());
  std::thread second = RankThatLeaves(2, leave_second.get_future());
  StartGroup();
  leave_first.set_value();
  first.join();
  AwaitLosses(1);
  // Rank 2 leaves when the second epoch has begun to form: it answers nothing.
  std::future<absl::Status> healed =
      std::async(std::launch::async, [&] { return group_->Heal(Rejoin(), kWeightsDigest); });
  leave_second.set_value();
  second.join();
  std::future<absl::Status> new_first = StartMember(1);
  std::future<absl::Status> new_second = StartMember(2);
  const absl::Status status = healed.get();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_GE(group_->epoch(), 2u);
  EXPECT_EQ(Run(0)->tokens, std::vector<int32_t>{3});
  group_->Stop(absl::Seconds(10));
  EXPECT_TRUE(new_first.get().ok());
  EXPECT_TRUE(new_second.get().ok());
}

TEST_F(GroupHealingTest, ARankThatFailsAfterItWasReadyIsReplaced) {
  std::future<absl::Status> broken = StartMember(1, absl::InternalError("its device is gone"));
  std::future<absl::Status> second = StartMember(2);
  StartGroup();
  EXPECT_EQ(Run(1).status().message(), "rank 1 failed: its device is gone");
  ASSERT_TRUE(group_->CanHeal());
  std::future<absl::Status> first = StartMember(1);
  ASSERT_TRUE(group_->Heal(Rejoin(), kWeightsDigest).ok());
  EXPECT_EQ(Run(1)->tokens, std::vector<int32_t>{6});
  EXPECT_FALSE(broken.get().ok());
  group_->Stop(absl::Seconds(10));
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(second.get().ok());
}

TEST_F(GroupHealingTest, ARankWithOtherPlansStopsTheGroupForGood) {
  leader_options_.world = 2;
  std::future<absl::Status> member = StartMember(
      1, absl::DataLossError("the plans up to step 0 differ: the leader's hash is 1, ours 2"));
  StartGroup();
  const absl::Status status = Run(1).status();
  EXPECT_EQ(status.message(),
            "rank 1 failed: the plans up to step 0 differ: the leader's hash is 1, ours 2");
  EXPECT_FALSE(group_->CanHeal());
  EXPECT_FALSE(group_->Recovers(status));
  EXPECT_FALSE(member.get().ok());
}

// A rank that lives and hangs in a step: it says so itself by standing still, and is left behind.
TEST_F(GroupHealingTest, ARankThatHangsInAStepIsLeftBehind) {
  leader_options_.stall_timeout = absl::Milliseconds(300);
  std::promise<void> release;
  std::future<absl::Status> hanging = std::async(std::launch::async, [&] {
    return RunMember(MemberOptions(1), absl::OkStatus(), [&] { release.get_future().wait(); });
  });
  std::future<absl::Status> second = StartMember(2);
  StartGroup();
  EXPECT_EQ(Run(1).status().message(), "rank 1 has come no further for 300ms in step 1 (1 tokens)");
  std::future<absl::Status> first = StartMember(1);
  ASSERT_TRUE(group_->Heal(Rejoin(), kWeightsDigest).ok());
  EXPECT_EQ(Run(1)->tokens, std::vector<int32_t>{6});
  release.set_value();
  EXPECT_FALSE(hanging.get().ok());
  group_->Stop(absl::Seconds(10));
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(second.get().ok());
}

// A survivor that is well by its pulses, but does not leave the step of the epoch before.
TEST_F(GroupHealingTest, ASurvivorThatDoesNotLeaveItsStepIsReplaced) {
  leader_options_.stall_timeout = absl::Milliseconds(300);
  std::promise<void> leave;
  std::thread leaving = RankThatLeaves(1, leave.get_future());
  std::promise<void> release;
  std::promise<void> begun;
  std::future<absl::Status> stuck = std::async(std::launch::async, [&] {
    return RunMember(MemberOptions(2), absl::OkStatus(), [&] {
      begun.set_value();
      release.get_future().wait();
    });
  });
  StartGroup();
  std::future<absl::Status> step = std::async(std::launch::async, [&] { return Run(1).status(); });
  begun.get_future().wait();
  leave.set_value();
  leaving.join();
  EXPECT_FALSE(step.get().ok());
  AwaitLosses(1);
  std::future<absl::Status> first = StartMember(1);
  std::future<absl::Status> healed =
      std::async(std::launch::async, [&] { return group_->Heal(Rejoin(), kWeightsDigest); });
  AwaitLosses(2);
  std::future<absl::Status> second = StartMember(2);
  const absl::Status status = healed.get();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Run(1)->tokens, std::vector<int32_t>{6});
  release.set_value();
  EXPECT_FALSE(stuck.get().ok());
  group_->Stop(absl::Seconds(10));
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(second.get().ok());
}

TEST_F(GroupHealingTest, HealingCanBeInterrupted) {
  const UniqueFd interrupt(eventfd(0, EFD_CLOEXEC));
  leader_options_.interrupt_fd = interrupt.get();
  std::promise<void> leave;
  std::thread leaving = RankThatLeaves(1, leave.get_future());
  std::future<absl::Status> second = StartMember(2);
  StartGroup();
  leave.set_value();
  leaving.join();
  AwaitLosses(1);
  ASSERT_EQ(eventfd_write(interrupt.get(), 1), 0);
  EXPECT_EQ(group_->Heal(Rejoin(), kWeightsDigest).code(), absl::StatusCode::kCancelled);
  group_->Stop(absl::Seconds(10));
  group_.reset();
  second.wait();
}

TEST_F(GroupHealingTest, TenLossesInARowAreMended) {
  leader_options_.world = 2;
  std::promise<void> leave;
  std::thread leaving = RankThatLeaves(1, leave.get_future());
  StartGroup();
  for (int loss = 1; loss <= 10; ++loss) {
    leave.set_value();
    leaving.join();
    AwaitLosses(loss);
    leave = std::promise<void>();
    leaving = RankThatLeaves(1, leave.get_future());
    const absl::Status healed = group_->Heal(Rejoin(), kWeightsDigest);
    ASSERT_TRUE(healed.ok()) << healed;
    EXPECT_EQ(group_->epoch(), static_cast<uint64_t>(loss) + 1);
  }
  leave.set_value();
  leaving.join();
}

}  // namespace
}  // namespace phalanx
