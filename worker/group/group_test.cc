// A group that has formed: steps, losses, leaving.
#include <sys/eventfd.h>
#include <unistd.h>

#include <future>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/unique_fd.h"
#include "gtest/gtest.h"
#include "worker/comm/communicator_segment.h"
#include "worker/group/rank_board.h"
#include "worker/group/testing/group_fixture.h"

namespace phalanx {
namespace {

TEST_F(GroupTest, AloneNeedsNoSocket) {
  leader_options_.address = "";
  StartLeader();
  EXPECT_EQ(Execute(41)->tokens, std::vector<int32_t>{41});
}

TEST_F(GroupTest, AllRanksTakeEveryStepAndLeaveWhenTold) {
  leader_options_.world = 3;
  std::future<absl::Status> first = StartMember(1);
  std::future<absl::Status> second = StartMember(2);
  StartLeader();
  for (int32_t token = 0; token < 100; ++token) {
    const auto result = Execute(token);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->tokens, std::vector<int32_t>{3 * token + 3});
  }
  EXPECT_EQ(leader_->ranks()[2].metrics_port, 9002);
  EXPECT_EQ(leader_->ranks()[1].weight_bytes, 1001);
  EXPECT_EQ(leader_->ranks()[1].kv_arena_bytes, 64);
  EXPECT_EQ(leader_->ranks()[0].weight_bytes, 0) << "the leader's own part is the caller's";
  EXPECT_EQ(leader_->ranks()[0].kv_arena_bytes, 0);
  leader_->Stop(absl::Seconds(10));
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(second.get().ok());
}

TEST_F(GroupTest, TwoStepsMayBeInFlight) {
  leader_options_.world = 3;
  leader_options_.steps_in_flight = 2;
  std::future<absl::Status> first = StartMember(1);
  std::future<absl::Status> second = StartMember(2);
  StartLeader();
  ASSERT_TRUE(leader_->Submit(StepOf(0)).ok());
  for (int32_t token = 1; token < 100; ++token) {
    ASSERT_TRUE(leader_->Submit(StepOf(token)).ok());
    EXPECT_EQ(leader_->Await()->tokens, std::vector<int32_t>{3 * token});
  }
  EXPECT_EQ(leader_->Await()->tokens, std::vector<int32_t>{300});
  leader_->Stop(absl::Seconds(10));
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(second.get().ok());
}

TEST_F(GroupTest, TheSamplingOfAStepMayComeWhenTheOneBeforeIsKnown) {
  for (const int steps_in_flight : {1, 2}) {
    leader_options_.world = 3;
    leader_options_.steps_in_flight = steps_in_flight;
    std::future<absl::Status> first = StartMember(1);
    std::future<absl::Status> second = StartMember(2);
    StartLeader();
    Step step = StepOf(0, 5);
    ASSERT_TRUE(leader_->SubmitForward(std::move(step.forward)).ok());
    for (int32_t token = 1; token < 50; ++token) {
      ASSERT_TRUE(leader_->SubmitSampling(std::move(step.sampling)).ok());
      step = StepOf(token, token % 3);
      if (steps_in_flight == 2) {
        ASSERT_TRUE(leader_->SubmitForward(std::move(step.forward)).ok());
      }
      const int seed = token == 1 ? 5 : (token - 1) % 3;
      EXPECT_EQ(leader_->Await()->tokens, std::vector<int32_t>{3 * (token + seed)});
      if (steps_in_flight == 1) {
        ASSERT_TRUE(leader_->SubmitForward(std::move(step.forward)).ok());
      }
    }
    // It was not to be. No rank waits for the sampling of this one for ever.
    EXPECT_EQ(leader_->Await().status().code(), absl::StatusCode::kAborted);
    leader_->Stop(absl::Seconds(10));
    EXPECT_TRUE(first.get().ok());
    EXPECT_TRUE(second.get().ok());
    leader_.reset();
  }
}

TEST_F(GroupTest, AFailureEndsBothStepsInFlight) {
  leader_options_.world = 2;
  leader_options_.steps_in_flight = 2;
  std::future<absl::Status> member = StartMember(1, absl::InternalError("its device is gone"));
  StartLeader();
  ASSERT_TRUE(leader_->Submit(StepOf(0)).ok());
  leader_->Submit(StepOf(1)).IgnoreError();
  const absl::Status status = leader_->Await().status();
  EXPECT_EQ(status.message(), "rank 1 failed: its device is gone");
  EXPECT_EQ(Execute(2).status(), status);
  EXPECT_FALSE(member.get().ok());
}

TEST_F(GroupTest, ARankThatFailsEndsTheGroupWithItsReason) {
  leader_options_.world = 2;
  std::future<absl::Status> member = StartMember(1, absl::InternalError("its device is gone"));
  StartLeader();
  const absl::Status status = Execute(1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(status.message(), "rank 1 failed: its device is gone");
  EXPECT_EQ(lost_.get_future().get(), status);
  EXPECT_EQ(Execute(1).status(), status);
  EXPECT_FALSE(member.get().ok());
}

TEST_F(GroupTest, ARankThatVanishesIsNoticedWithoutAStep) {
  leader_options_.world = 2;
  std::promise<void> formed;
  std::thread member([&] {
    auto joined = GroupMember::Join(MemberOptions(1));
    ASSERT_TRUE(joined.ok());
    AddingDecoder decoder((*joined)->communicator());
    ASSERT_TRUE((*joined)->SendReady(decoder, 0, kWeightsDigest, 0).ok());
    formed.get_future().wait();
  });
  StartLeader();
  formed.set_value();
  const absl::Status status = lost_.get_future().get();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("rank 1"), absl::string_view::npos) << status;
  EXPECT_EQ(Execute(1).status(), status);
  member.join();
}

TEST_F(GroupTest, AGroupThatIsReadyIsWatchedOnWhenTheStartIsInterruptedTooLate) {
  leader_options_.world = 2;
  const UniqueFd interrupt(eventfd(0, EFD_CLOEXEC));
  leader_options_.interrupt_fd = interrupt.get();
  std::promise<void> leave;
  std::atomic<int> turns = 0;
  leader_options_.on_pulse = [&](absl::Duration) {
    ++turns;
    turns.notify_all();
  };
  leader_options_.stall_timeout = absl::Seconds(1);
  std::thread member([&] {
    RankChannel channel = JoinByHand(1);
    leave.get_future().wait();
  });
  StartLeader();
  ASSERT_EQ(eventfd_write(interrupt.get(), 1), 0);
  // After two more turns the monitor has seen the interrupt.
  for (int seen = turns, last = seen + 2; seen < last; seen = turns) turns.wait(seen);
  leave.set_value();
  EXPECT_EQ(lost_.get_future().get().code(), absl::StatusCode::kUnavailable);
  member.join();
}

TEST_F(GroupTest, TheBoardIsToldOfTheRanks) {
  leader_options_.world = 2;
  leader_options_.stall_timeout = absl::Milliseconds(500);
  RankBoard board(2);
  leader_options_.board = &board;
  std::promise<void> worked;
  std::promise<void> leave;
  std::thread member([&] {
    RankChannel channel = JoinByHand(1);
    worker::v1::RankMessage message;
    worker::v1::RankLoad* const load = message.mutable_pulse()->mutable_load();
    load->set_resident_bytes(77);
    EXPECT_TRUE(channel.Send(message).ok());
    worked.set_value();
    leave.get_future().wait();
  });
  std::atomic<int> turns = 0;
  leader_options_.on_pulse = [&](absl::Duration) {
    ++turns;
    turns.notify_all();
  };
  StartLeader();
  worked.get_future().wait();
  // After two more turns the monitor has read the pulse.
  for (int seen = turns, last = seen + 2; seen < last; seen = turns) turns.wait(seen);
  std::vector<RankState> ranks = board.Snapshot(MonotonicClock()->Now());
  EXPECT_EQ(ranks[1].phase, RankPhase::kReady);
  EXPECT_EQ(ranks[1].pid, getpid());
  EXPECT_EQ(ranks[1].resident_bytes, 77);
  EXPECT_LT(ranks[1].heartbeat_age, absl::Minutes(1));
  EXPECT_GT(ranks[0].resident_bytes, 0);
  // It says nothing more.
  EXPECT_EQ(lost_.get_future().get().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(board.Snapshot(MonotonicClock()->Now())[1].phase, RankPhase::kLost);
  leave.set_value();
  member.join();
}

TEST_F(GroupTest, BothSidesTellHowLongAStepTook) {
  leader_options_.world = 2;
  RankBoard board(2);
  leader_options_.board = &board;
  std::vector<absl::Duration> times;
  leader_options_.on_step = [&](absl::Duration step_time, const StepResult& result) {
    EXPECT_EQ(result.tokens.size(), 1u);
    times.push_back(step_time);
  };
  std::future<absl::Status> member = StartMember(1);
  StartLeader();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Execute(i).ok());
  ASSERT_EQ(times.size(), 3u);
  for (const absl::Duration time : times) EXPECT_GT(time, absl::ZeroDuration());
  leader_->Stop(absl::Minutes(1));
  EXPECT_TRUE(member.get().ok());
}

TEST_F(GroupTest, ARankThatSendsHalfAMessageIsLost) {
  leader_options_.world = 2;
  std::promise<void> formed;
  std::promise<void> noticed;
  std::thread member([&] {
    const RankChannel channel = JoinByHand(1);
    formed.get_future().wait();
    EXPECT_EQ(write(channel.fd(), "\x08\0", 2), 2);
    noticed.get_future().wait();
  });
  StartLeader();
  formed.set_value();
  const absl::Status status = lost_.get_future().get();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("rank 1"), absl::string_view::npos) << status;
  noticed.set_value();
  member.join();
}

TEST_F(GroupTest, AFailureWithoutAMeaningIsInternal) {
  leader_options_.world = 2;
  for (const int code : {0, 77, -1}) {
    lost_ = std::promise<absl::Status>();
    std::promise<void> formed;
    std::thread member([&] {
      RankChannel channel = JoinByHand(1);
      formed.get_future().wait();
      worker::v1::RankMessage message;
      message.mutable_failed()->set_code(code);
      EXPECT_TRUE(channel.Send(message).ok());
    });
    StartLeader();
    formed.set_value();
    EXPECT_EQ(lost_.get_future().get().code(), absl::StatusCode::kInternal) << code;
    member.join();
    leader_.reset();
  }
}

TEST_F(GroupTest, AbandonEndsAStepThatWaitsForItsDevice) {
  StartLeader();
  std::promise<void> begun;
  decoder_->waits_for_device = true;
  decoder_->before_reduce = [&] { begun.set_value(); };
  std::future<absl::Status> step =
      std::async(std::launch::async, [&] { return Execute(1).status(); });
  begun.get_future().wait();
  leader_->Abandon();
  EXPECT_EQ(step.get().code(), absl::StatusCode::kCancelled);
}

TEST_F(GroupTest, ALossEndsAStepThatWaitsForItsDevice) {
  leader_options_.world = 2;
  std::future<absl::Status> member = StartMember(1, absl::InternalError("its device is gone"));
  StartLeader();
  decoder_->waits_for_device = true;
  EXPECT_EQ(Execute(1).status().message(), "rank 1 failed: its device is gone");
  EXPECT_FALSE(member.get().ok());
}

TEST_F(GroupTest, AnInterruptEndsAMembersStepThatWaitsForItsDevice) {
  leader_options_.world = 2;
  const UniqueFd interrupt(eventfd(0, EFD_CLOEXEC));
  GroupMember::Options options = MemberOptions(1);
  options.interrupt_fd = interrupt.get();
  std::promise<void> begun;
  std::thread member([&] {
    auto joined = GroupMember::Join(options);
    ASSERT_TRUE(joined.ok()) << joined.status();
    AddingDecoder decoder((*joined)->communicator());
    decoder.waits_for_device = true;
    decoder.before_reduce = [&] { begun.set_value(); };
    ASSERT_TRUE((*joined)->SendReady(decoder, 0, kWeightsDigest, 0).ok());
    EXPECT_EQ((*joined)->Serve(decoder, [](auto...) {}).status().code(),
              absl::StatusCode::kAborted);
  });
  StartLeader();
  std::future<absl::Status> step =
      std::async(std::launch::async, [&] { return Execute(1).status(); });
  begun.get_future().wait();
  ASSERT_EQ(eventfd_write(interrupt.get(), 1), 0);
  EXPECT_FALSE(step.get().ok());
  member.join();
}

TEST_F(GroupTest, ARankThatHangsIsNamedByTheOnesThatWait) {
  leader_options_.world = 3;
  leader_options_.step_timeout = absl::Minutes(1);
  // Rank 1 gives up first; its own deadline is no caller's.
  GroupMember::Options impatient = MemberOptions(1);
  impatient.step_timeout = absl::Milliseconds(100);
  std::future<absl::Status> waiting =
      std::async(std::launch::async, [&] { return RunMember(impatient); });
  std::promise<void> lost;
  std::thread hanging([&] {
    const RankChannel channel = JoinByHand(2);
    lost.get_future().wait();
  });
  StartLeader();
  const absl::Status status = Execute(1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  // Usually "rank 2", but on a busy machine the leader too can be late for rank 1.
  EXPECT_NE(status.message().find("did not come to a collective"), absl::string_view::npos)
      << status;
  leader_.reset();
  EXPECT_TRUE(waiting.get().ok());
  lost.set_value();
  hanging.join();
}

TEST_F(GroupTest, ARankThatHangsIsNamedByTheLeader) {
  leader_options_.world = 2;
  leader_options_.step_timeout = absl::Milliseconds(20);
  std::promise<void> lost;
  std::thread hanging([&] {
    const RankChannel channel = JoinByHand(1);
    lost.get_future().wait();
  });
  StartLeader();
  const absl::Status status = Execute(1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "rank 1 did not come to a collective in time");
  EXPECT_EQ(lost_.get_future().get(), status);
  lost.set_value();
  hanging.join();
}

// Both hashes are in the log of both: the member's error is what it sends, and what it ends with.
TEST_F(GroupTest, AMemberThatComputesAnotherHashEndsWithBoth) {
  leader_options_.world = 2;
  worker::v1::RankMessage said;
  std::thread leader([&] {
    auto listener = UnixListener::Create(leader_options_.address);
    ASSERT_TRUE(listener.ok());
    auto socket = listener->Accept();
    ASSERT_TRUE(socket.ok());
    RankChannel channel(*std::move(socket));
    ASSERT_TRUE(channel.Receive(&said).ok());
    auto segment = CommunicatorSegment::Create(2);
    worker::v1::LeaderMessage message;
    message.mutable_welcome()->set_epoch(4);
    message.mutable_welcome()->set_max_step_tokens(8);
    message.mutable_welcome()->set_max_seqs(4);
    message.mutable_welcome()->set_max_blocks_per_seq(2);
    message.mutable_welcome()->set_kv_blocks(16);
    ASSERT_TRUE(channel.Send(message, (*segment)->fd()).ok());
    StepSequence sequence(4);
    const Step step = StepOf(1);
    sequence.Encode(step.forward, &step.sampling, message.mutable_plan());
    message.mutable_plan()->set_hash(0xbad);
    ASSERT_TRUE(channel.Send(message).ok());
    while (!said.has_failed()) ASSERT_TRUE(channel.Receive(&said).ok());
  });
  const absl::Status status = RunMember(MemberOptions(1));
  leader.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(status.message().find("the leader's hash is bad, ours "), absl::string_view::npos)
      << status;
  EXPECT_EQ(said.failed().code(), static_cast<int>(absl::StatusCode::kDataLoss));
  EXPECT_EQ(said.failed().message(), status.message());
}

TEST_F(GroupTest, AMemberNoticesThatTheLeaderIsGone) {
  leader_options_.world = 2;
  leader_options_.on_lost = [](const absl::Status&) {};
  std::thread leader([&] {
    // A leader that lets the rank in and dies.
    auto listener = UnixListener::Create(leader_options_.address);
    ASSERT_TRUE(listener.ok());
    auto socket = listener->Accept();
    ASSERT_TRUE(socket.ok());
    RankChannel channel(*std::move(socket));
    worker::v1::RankMessage join;
    ASSERT_TRUE(channel.Receive(&join).ok());
    auto segment = CommunicatorSegment::Create(2);
    worker::v1::LeaderMessage welcome;
    welcome.mutable_welcome()->set_max_step_tokens(8);
    welcome.mutable_welcome()->set_max_seqs(4);
    welcome.mutable_welcome()->set_max_blocks_per_seq(2);
    welcome.mutable_welcome()->set_kv_blocks(16);
    ASSERT_TRUE(channel.Send(welcome, (*segment)->fd()).ok());
  });
  const absl::Status status = RunMember(MemberOptions(1));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  leader.join();
}

TEST_F(GroupTest, AnInterruptAfterTheGroupIsReadyIsNotTheGroups) {
  leader_options_.world = 2;
  const UniqueFd interrupt(eventfd(0, EFD_CLOEXEC));
  leader_options_.interrupt_fd = interrupt.get();
  std::future<absl::Status> member = StartMember(1);
  StartLeader();
  ASSERT_EQ(eventfd_write(interrupt.get(), 1), 0);
  EXPECT_TRUE(Execute(1).ok());
  leader_->Stop(absl::Seconds(10));
  EXPECT_TRUE(member.get().ok());
}

TEST_F(GroupTest, ARankLeavesWhenInterrupted) {
  leader_options_.world = 2;
  const UniqueFd interrupt(eventfd(0, EFD_CLOEXEC));
  GroupMember::Options options = MemberOptions(1);
  options.interrupt_fd = interrupt.get();
  std::future<absl::Status> member =
      std::async(std::launch::async, [&] { return RunMember(options); });
  StartLeader();
  EXPECT_TRUE(Execute(1).ok());
  ASSERT_EQ(eventfd_write(interrupt.get(), 1), 0);
  EXPECT_EQ(member.get().code(), absl::StatusCode::kCancelled);
  const absl::Status status = lost_.get_future().get();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("rank 1"), absl::string_view::npos) << status;
}

}  // namespace
}  // namespace phalanx
