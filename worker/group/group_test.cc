// Leader and members as threads of one process, with decoders that only add.
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/log.h"
#include "gtest/gtest.h"
#include "worker/comm/communicator_segment.h"
#include "worker/group/group_leader.h"
#include "worker/group/group_member.h"
#include "worker/group/unix_socket.h"

namespace phalanx {
namespace {

class InstantStream final : public kernels::Stream {
 public:
  absl::Status Synchronize() override { return absl::OkStatus(); }
};

// Draws the sum over ranks of (rank + first token): every rank must have taken the same step.
class AddingDecoder final : public Decoder {
 public:
  explicit AddingDecoder(Communicator* comm) : comm_(comm) {}

  absl::StatusOr<StepResult> Step(const StepInput& input) override {
    float sum = static_cast<float>(comm_->rank() + input.token_ids[0]);
    if (!fail_with.ok()) return fail_with;
    InstantStream stream;
    if (absl::Status status = comm_->AllReduceSum(stream, &sum, 1); !status.ok()) {
      return status;
    }
    if (comm_->rank() != 0) return StepResult();
    return StepResult{.tokens = {static_cast<int32_t>(sum)}, .log_probs = {}};
  }

  const float* last_logits() const override { return nullptr; }
  absl::Duration last_comm_time() const override { return absl::ZeroDuration(); }
  size_t kv_arena_bytes() const override { return 64; }
  size_t activation_bytes() const override { return 0; }

  absl::Status fail_with;

 private:
  Communicator* const comm_;
};

StepInput Step(int32_t token) {
  return {.token_ids = {token},
          .positions = {0},
          .query_starts = {0, 1},
          .kv_lengths = {1},
          .block_tables = {0},
          .max_blocks_per_seq = 1,
          .logit_rows = {0},
          .sampling = {kernels::SamplingRow{}}};
}

class GroupTest : public testing::Test {
 protected:
  GroupTest() {
    leader_options_.fingerprint = "model";
    leader_options_.limits = {
        .max_step_tokens = 8, .max_seqs = 4, .max_blocks_per_seq = 2, .kv_blocks = 16};
    // Not the test's own folder: the path of a socket is at most 107 bytes long.
    char folder[] = "/tmp/phalanx_group_XXXXXX";
    CHECK(mkdtemp(folder) != nullptr);
    folder_ = folder;
    leader_options_.socket_path = folder_ + "/group";
    leader_options_.on_lost = [this](const absl::Status& status) { lost_.set_value(status); };
  }

  GroupMember::Options MemberOptions(int rank) const {
    return {.rank = rank,
            .world = leader_options_.world,
            .fingerprint = leader_options_.fingerprint,
            .socket_path = leader_options_.socket_path,
            .startup_timeout = absl::Minutes(1)};
  }

  ~GroupTest() override {
    leader_.reset();
    rmdir(folder_.c_str());
  }

  // A rank's whole life. `fail_with` is what its first step fails with.
  static absl::Status RunMember(const GroupMember::Options& options,
                                const absl::Status& fail_with = absl::OkStatus()) {
    auto member = GroupMember::Join(options);
    if (!member.ok()) return member.status();
    EXPECT_EQ((*member)->limits().kv_blocks, 16);
    AddingDecoder decoder((*member)->communicator());
    decoder.fail_with = fail_with;
    absl::Status status = (*member)->SendReady(decoder, 1000 + options.rank, 9000 + options.rank);
    if (status.ok()) status = (*member)->Serve(decoder, [](absl::Duration) {});
    if (!status.ok()) (*member)->SendFailed(status);
    return status;
  }

  std::future<absl::Status> StartMember(int rank, const absl::Status& fail_with = {}) {
    return std::async(std::launch::async,
                      [=, options = MemberOptions(rank)] { return RunMember(options, fail_with); });
  }

  void StartLeader() {
    auto leader = GroupLeader::Start(leader_options_);
    ASSERT_TRUE(leader.ok()) << leader.status();
    leader_ = *std::move(leader);
    decoder_ = std::make_unique<AddingDecoder>(leader_->communicator());
    const absl::Status ready = leader_->AwaitReady(decoder_.get());
    ASSERT_TRUE(ready.ok()) << ready;
  }

  std::string folder_;
  GroupLeader::Options leader_options_;
  std::promise<absl::Status> lost_;
  std::unique_ptr<GroupLeader> leader_;
  std::unique_ptr<AddingDecoder> decoder_;
};

TEST_F(GroupTest, AloneNeedsNoSocket) {
  leader_options_.socket_path = "";
  StartLeader();
  EXPECT_EQ(leader_->Execute(Step(41))->tokens, std::vector<int32_t>{41});
}

TEST_F(GroupTest, AllRanksTakeEveryStepAndLeaveWhenTold) {
  leader_options_.world = 3;
  std::future<absl::Status> first = StartMember(1);
  std::future<absl::Status> second = StartMember(2);
  StartLeader();
  for (int32_t token = 0; token < 100; ++token) {
    const auto result = leader_->Execute(Step(token));
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->tokens, std::vector<int32_t>{3 * token + 3});
  }
  EXPECT_EQ(leader_->ranks()[2].metrics_port, 9002);
  EXPECT_EQ(leader_->ranks()[1].weight_bytes, 1001);
  leader_->Stop(absl::Seconds(10));
  EXPECT_TRUE(first.get().ok());
  EXPECT_TRUE(second.get().ok());
}

TEST_F(GroupTest, ARankThatFailsEndsTheGroupWithItsReason) {
  leader_options_.world = 2;
  std::future<absl::Status> member = StartMember(1, absl::InternalError("its device is gone"));
  StartLeader();
  const absl::Status status = leader_->Execute(Step(1)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(status.message(), "rank 1 failed: its device is gone");
  EXPECT_EQ(lost_.get_future().get(), status);
  EXPECT_EQ(leader_->Execute(Step(1)).status(), status);
  EXPECT_FALSE(member.get().ok());
}

TEST_F(GroupTest, ARankThatVanishesIsNoticedWithoutAStep) {
  leader_options_.world = 2;
  std::promise<void> formed;
  std::thread member([&] {
    auto joined = GroupMember::Join(MemberOptions(1));
    ASSERT_TRUE(joined.ok());
    AddingDecoder decoder((*joined)->communicator());
    ASSERT_TRUE((*joined)->SendReady(decoder, 0, 0).ok());
    formed.get_future().wait();
  });
  StartLeader();
  formed.set_value();
  const absl::Status status = lost_.get_future().get();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("rank 1"), absl::string_view::npos) << status;
  EXPECT_EQ(leader_->Execute(Step(1)).status(), status);
  member.join();
}

TEST_F(GroupTest, ARankThatSendsHalfAMessageIsLost) {
  leader_options_.world = 2;
  std::promise<void> formed;
  std::thread member([&] {
    auto socket = ConnectUnix(leader_options_.socket_path, absl::Minutes(1));
    ASSERT_TRUE(socket.ok());
    const int fd = socket->get();
    RankChannel channel(*std::move(socket));
    worker::v1::RankMessage message;
    message.mutable_join()->set_rank(1);
    message.mutable_join()->set_world(2);
    message.mutable_join()->set_model_fingerprint("model");
    ASSERT_TRUE(channel.Send(message).ok());
    worker::v1::LeaderMessage welcome;
    ASSERT_TRUE(channel.Receive(&welcome).ok());
    message.mutable_ready();
    ASSERT_TRUE(channel.Send(message).ok());
    ASSERT_EQ(write(fd, "\x08\0", 2), 2);
    formed.get_future().wait();
  });
  StartLeader();
  const absl::Status status = lost_.get_future().get();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("rank 1"), absl::string_view::npos) << status;
  formed.set_value();
  member.join();
}

TEST_F(GroupTest, AMemberNoticesThatTheLeaderIsGone) {
  leader_options_.world = 2;
  leader_options_.on_lost = [](const absl::Status&) {};
  std::thread leader([&] {
    // A leader that lets the rank in and dies.
    auto listener = ListenUnix(leader_options_.socket_path);
    ASSERT_TRUE(listener.ok());
    RankChannel channel(UniqueFd(accept(listener->get(), nullptr, nullptr)));
    worker::v1::RankMessage join;
    ASSERT_TRUE(channel.Receive(&join).ok());
    auto segment = CommunicatorSegment::Create(2);
    worker::v1::LeaderMessage welcome;
    welcome.mutable_welcome()->set_kv_blocks(16);
    ASSERT_TRUE(channel.Send(welcome, (*segment)->fd()).ok());
  });
  const absl::Status status = RunMember(MemberOptions(1));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  leader.join();
}

TEST_F(GroupTest, RefusesARankWithAnotherModel) {
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

TEST_F(GroupTest, RefusesARankOfAnotherWorld) {
  leader_options_.world = 2;
  GroupMember::Options options = MemberOptions(1);
  options.world = 3;
  std::future<absl::Status> member =
      std::async(std::launch::async, [=] { return RunMember(options); });
  EXPECT_EQ(GroupLeader::Start(leader_options_).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(member.get().ok());
}

TEST_F(GroupTest, SaysWhichRankDidNotJoin) {
  leader_options_.world = 2;
  leader_options_.startup_timeout = absl::Milliseconds(1);
  const absl::Status status = GroupLeader::Start(leader_options_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(status.message().find("rank 1 did not join"), absl::string_view::npos) << status;
}

TEST_F(GroupTest, SaysHowAChildEndedThatNeverJoined) {
  leader_options_.world = 2;
  leader_options_.rank_command = [](int) {
    return std::vector<std::string>{"/bin/sh", "-c", "exit 5"};
  };
  const absl::Status status = GroupLeader::Start(leader_options_).status();
  EXPECT_EQ(status.message(), "rank 1 exited with code 5 while the group formed");
}

}  // namespace
}  // namespace phalanx
