// What the tests of worker groups share: leader and members as threads of one process, with
// decoders that only add.
#ifndef PHALANX_WORKER_GROUP_TESTING_GROUP_FIXTURE_H_
#define PHALANX_WORKER_GROUP_TESTING_GROUP_FIXTURE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status.h"
#include "gtest/gtest.h"
#include "worker/comm/shm_communicator_factory.h"
#include "worker/group/group_epoch.h"
#include "worker/group/group_member.h"
#include "worker/group/rank_channel.h"
#include "worker/group/rank_identity.h"
#include "worker/group/unix_socket.h"
#include "worker/step/testing/step_builder.h"

namespace phalanx {

class InstantStream final : public kernels::Stream {
 public:
  absl::Status Synchronize(absl::Duration timeout) override { return absl::OkStatus(); }
  void Abort() override {}
};

// Draws the sum over ranks of (rank + first token + seed of the first row): every rank must have
// taken both parts of the same step.
class AddingDecoder final : public Decoder {
 public:
  explicit AddingDecoder(Communicator* comm) : comm_(comm) {}

  void Abort() override {
    MutexLock lock(&mutex_);
    aborted_ = true;
    changed_.SignalAll();
  }

  absl::Status LaunchForward(const StepBlock& forward) override {
    first_token_ = forward.arrays().token_ids[0];
    if (on_forward) on_forward();
    return absl::OkStatus();
  }
  // Computes when it is launched.
  absl::Status LaunchSampling(const SamplingBlock& sampling) override {
    result_ = Compute(sampling);
    return absl::OkStatus();
  }
  absl::StatusOr<StepResult> Await() override { return std::move(result_); }
  bool launches_ahead() const override { return false; }

  uint64_t progress() const override { return progress_; }
  size_t kv_arena_bytes() const override { return 64; }
  size_t activation_bytes() const override { return 0; }

  absl::Status fail_with;
  // Called when the first part of a step is launched.
  std::function<void()> on_forward;
  std::function<void()> before_reduce;
  // Steps end only when they are aborted, as on a device that hangs.
  bool waits_for_device = false;

 private:
  absl::StatusOr<std::unique_ptr<Decoder>> MoveTo(Communicator* comm) override {
    return std::make_unique<AddingDecoder>(comm);
  }
  absl::StatusOr<StepResult> Compute(const SamplingBlock& sampling) {
    const auto seed = static_cast<int32_t>(sampling.arrays().sampling[0].seed);
    float sum = static_cast<float>(comm_->rank() + first_token_ + seed);
    if (!fail_with.ok()) return fail_with;
    if (before_reduce) before_reduce();
    ++progress_;
    if (waits_for_device) {
      AwaitAbort();
      return absl::AbortedError("the stream was aborted");
    }
    InstantStream stream;
    if (absl::Status status = comm_->AllReduceSum(stream, {&sum, kernels::DType::kF32, 1, 1});
        !status.ok()) {
      return status;
    }
    return StepResult{.tokens = {static_cast<int32_t>(sum)}, .log_probs = {}};
  }

  void AwaitAbort() {
    MutexLock lock(&mutex_);
    while (!aborted_) changed_.Wait(&mutex_);
  }

  int32_t first_token_ = 0;
  absl::StatusOr<StepResult> result_;
  Mutex mutex_;
  CondVar changed_;
  bool aborted_ GUARDED_BY(mutex_) = false;
  std::atomic<uint64_t> progress_{0};
  Communicator* const comm_;
};

// The first step of a sequence of one token.
inline Step StepOf(int32_t token, uint64_t seed = 0) {
  TestSequence sequence{.tokens = {token}, .blocks = {1}};
  StepBuilder builder;
  builder.Add(sequence, 1, {.seed = seed});
  return builder.Finish();
}

class GroupTest : public testing::Test {
 protected:
  static constexpr absl::string_view kWeightsDigest = "weights";

  GroupTest() {
    leader_options_.communicators = &communicators_;
    leader_options_.identity = {.model_fingerprint = "model",
                                .build = "build",
                                .arithmetic = "avx2",
                                .weight_form = "file"};
    leader_options_.limits = {
        .max_step_tokens = 8, .max_seqs = 4, .max_blocks_per_seq = 2, .kv_blocks = 16};
    leader_options_.address = UnusedAbstractAddress();
    // Members that a test plays by hand send no pulse.
    leader_options_.stall_timeout = absl::Minutes(1);
    leader_options_.on_lost = [this](const absl::Status& status) { lost_.set_value(status); };
  }

  GroupMember::Options MemberOptions(int rank) const {
    return {.rank = rank,
            .world = leader_options_.world,
            .communicators = leader_options_.communicators,
            .identity = leader_options_.identity,
            .address = leader_options_.address,
            .tcp = leader_options_.tcp,
            .startup_timeout = absl::Minutes(1)};
  }

  // A rank's whole life. `fail_with` is what its first step fails with, `on_forward` and
  // `before_reduce` are called in every step.
  static absl::Status RunMember(const GroupMember::Options& options,
                                const absl::Status& fail_with = absl::OkStatus(),
                                const std::function<void()>& before_reduce = nullptr,
                                absl::string_view weights_digest = kWeightsDigest,
                                const std::function<void()>& on_forward = nullptr) {
    auto member = GroupMember::Join(options);
    if (!member.ok()) return member.status();
    const StepLimits& limits = (*member)->limits();
    EXPECT_EQ(limits.max_step_tokens, 8);
    EXPECT_EQ(limits.max_seqs, 4);
    EXPECT_EQ(limits.max_blocks_per_seq, 2);
    EXPECT_EQ(limits.kv_blocks, 16);
    const absl::Status status =
        ServeEpochs(**member, options, fail_with, before_reduce, weights_digest, on_forward);
    if (!status.ok()) (*member)->SendFailed(status);
    return status;
  }

  // Serves in one epoch after the other until the leader says stop.
  static absl::Status ServeEpochs(GroupMember& member, const GroupMember::Options& options,
                                  const absl::Status& fail_with,
                                  const std::function<void()>& before_reduce,
                                  absl::string_view weights_digest,
                                  const std::function<void()>& on_forward) {
    while (true) {
      AddingDecoder decoder(member.communicator());
      decoder.on_forward = on_forward;
      decoder.fail_with = fail_with;
      decoder.before_reduce = before_reduce;
      RETURN_IF_ERROR(
          member.SendReady(decoder, 1000 + options.rank, weights_digest, 9000 + options.rank));
      ASSIGN_OR_RETURN(const StepReader::End end, member.Serve(decoder, [](auto...) {}));
      if (end == StepReader::End::kStop) return absl::OkStatus();
      ASSIGN_OR_RETURN(const bool goes_on, member.NextEpoch());
      if (!goes_on) return absl::OkStatus();
    }
  }

  std::future<absl::Status> StartMember(int rank, const absl::Status& fail_with = {}) {
    return std::async(std::launch::async,
                      [=, options = MemberOptions(rank)] { return RunMember(options, fail_with); });
  }

  // A rank that is ready and then does what the test wants.
  RankChannel JoinByHand(int rank) {
    auto socket = ConnectUnix(leader_options_.address, absl::Minutes(1));
    CHECK_OK(socket.status());
    RankChannel channel(*std::move(socket));
    worker::v1::RankMessage message;
    message.mutable_join()->set_rank(rank);
    message.mutable_join()->set_world(leader_options_.world);
    WriteIdentity(leader_options_.identity, message.mutable_join());
    CHECK_OK(channel.Send(message));
    worker::v1::LeaderMessage welcome;
    CHECK_OK(channel.Receive(&welcome));
    message.mutable_ready()->set_weights_digest(std::string(kWeightsDigest));
    CHECK_OK(channel.Send(message));
    return channel;
  }

  // The first epoch of a group, when it has formed.
  static absl::StatusOr<std::unique_ptr<GroupEpoch>> Form(const GroupEpoch::Options& options) {
    auto epoch = std::make_unique<GroupEpoch>(options, std::vector<GroupEpoch::Survivor>());
    RETURN_IF_ERROR(epoch->Form());
    return epoch;
  }

  void StartLeader() {
    auto leader = Form(leader_options_);
    ASSERT_TRUE(leader.ok()) << leader.status();
    leader_ = *std::move(leader);
    decoder_ = std::make_unique<AddingDecoder>(leader_->communicator());
    const absl::Status ready = leader_->AwaitReady(decoder_.get(), kWeightsDigest);
    ASSERT_TRUE(ready.ok()) << ready;
  }

  absl::StatusOr<StepResult> Execute(int32_t token) {
    if (absl::Status status = leader_->Submit(StepOf(token)); !status.ok()) return status;
    return leader_->Await();
  }

  ShmCommunicatorFactory communicators_;
  GroupEpoch::Options leader_options_;
  std::promise<absl::Status> lost_;
  // Goes after the leader, which may abort it until it is stopped.
  std::unique_ptr<AddingDecoder> decoder_;
  std::unique_ptr<GroupEpoch> leader_;
};

}  // namespace phalanx

#endif  // PHALANX_WORKER_GROUP_TESTING_GROUP_FIXTURE_H_
