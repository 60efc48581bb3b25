#include "worker/group/step_reader.h"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <optional>
#include <thread>
#include <utility>
#include <variant>

#include "gtest/gtest.h"
#include "phalanx/worker/v1/rank.pb.h"
#include "worker/group/step_plan_codec.h"
#include "worker/step/testing/step_builder.h"

namespace phalanx {
namespace {

constexpr uint64_t kEpoch = 3;

Step OneToken(int32_t token) {
  TestSequence sequence{.tokens = {token}, .blocks = {1}};
  StepBuilder builder;
  builder.Add(sequence, 1);
  return builder.Finish();
}

class StepReaderTest : public testing::Test {
 protected:
  StepReaderTest() {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    leader_.emplace(UniqueFd(fds[0]));
    rank_.emplace(UniqueFd(fds[1]));
    reader_.emplace(&*rank_, kEpoch, interrupt_.get(), [this] { ended_ = true; });
  }

  // A step whose prompt makes it larger than a socket takes at once.
  void Send(int32_t first_token, int num_tokens = 200000) {
    TestSequence sequence{.tokens = std::vector<int32_t>(num_tokens, first_token),
                          .blocks = std::vector<int32_t>(num_tokens / 16 + 1, 1)};
    StepBuilder builder;
    builder.Add(sequence, num_tokens);
    const Step step = builder.Finish();
    sequence_.Encode(step.forward, &step.sampling, message_.mutable_plan());
    ASSERT_TRUE(leader_->Send(message_).ok());
  }

  // Takes both parts of a step, and returns its first token.
  int32_t Take() {
    const auto forward = reader_->Next();
    const auto sampling = reader_->Next();
    EXPECT_TRUE(sampling.ok() && std::holds_alternative<SamplingBlock>(*sampling));
    if (!forward.ok() || !std::holds_alternative<StepBlock>(*forward)) return -1;
    return std::as_const(std::get<StepBlock>(*forward)).arrays().token_ids[0];
  }

  void SendStop() {
    message_.mutable_stop();
    ASSERT_TRUE(leader_->Send(message_).ok());
  }

  const UniqueFd interrupt_{eventfd(0, EFD_CLOEXEC)};
  StepSequence sequence_{kEpoch};
  worker::v1::LeaderMessage message_;
  std::optional<RankChannel> leader_;
  std::optional<RankChannel> rank_;
  std::atomic<bool> ended_ = false;
  std::optional<StepReader> reader_;
};

TEST_F(StepReaderTest, TheLeaderCanSendTwoStepsThatNobodyHasTaken) {
  Send(1);
  Send(2);
  for (int32_t token : {1, 2}) EXPECT_EQ(Take(), token);
}

TEST_F(StepReaderTest, ThePartsOfAStepMayComeOneByOne) {
  for (const int32_t token : {1, 2}) {
    const Step step = OneToken(token);
    sequence_.Encode(step.forward, /*sampling=*/nullptr, message_.mutable_plan());
    ASSERT_TRUE(leader_->Send(message_).ok());
    EXPECT_TRUE(std::holds_alternative<StepBlock>(*reader_->Next()));
    EXPECT_FALSE(reader_->HasPart(absl::ZeroDuration()));
    sequence_.EncodeSampling(step.sampling, message_.mutable_sampling());
    ASSERT_TRUE(leader_->Send(message_).ok());
    EXPECT_TRUE(reader_->HasPart(absl::Minutes(1)));
    EXPECT_TRUE(std::holds_alternative<SamplingBlock>(*reader_->Next()));
  }
}

TEST_F(StepReaderTest, TheEndMayComeBetweenThePartsOfAStep) {
  sequence_.Encode(OneToken(1).forward, /*sampling=*/nullptr, message_.mutable_plan());
  ASSERT_TRUE(leader_->Send(message_).ok());
  SendStop();
  EXPECT_TRUE(std::holds_alternative<StepBlock>(*reader_->Next()));
  EXPECT_EQ(std::get<StepReader::End>(*reader_->Next()), StepReader::End::kStop);
}

TEST_F(StepReaderTest, StopComesAfterTheStepsBeforeIt) {
  Send(1, 1);
  SendStop();
  EXPECT_EQ(Take(), 1);
  EXPECT_EQ(std::get<StepReader::End>(*reader_->Next()), StepReader::End::kStop);
}

TEST_F(StepReaderTest, TheEndOfTheLeaderComesAfterTheStepsBeforeIt) {
  Send(1, 1);
  leader_.reset();
  EXPECT_EQ(Take(), 1);
  EXPECT_EQ(reader_->Next().status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(StepReaderTest, AStepThatDoesNotFollowIsDataLoss) {
  worker::v1::StepPlan plan;
  plan.set_epoch(kEpoch);
  Send(1, 1);
  *message_.mutable_plan() = plan;
  ASSERT_TRUE(leader_->Send(message_).ok());
  EXPECT_EQ(Take(), 1);
  EXPECT_EQ(reader_->Next().status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(StepReaderTest, APlanWithAnotherHashIsDataLoss) {
  Send(1, 1);
  StepSequence other(kEpoch);
  message_.mutable_plan()->set_step(1);
  ASSERT_TRUE(leader_->Send(message_).ok());
  EXPECT_EQ(Take(), 1);
  const absl::Status status = reader_->Next().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(status.message().find("the leader's hash is"), absl::string_view::npos) << status;
}

TEST_F(StepReaderTest, PlansOfAnEarlierEpochAreDropped) {
  StepSequence earlier(kEpoch - 1);
  worker::v1::LeaderMessage late;
  const Step step = OneToken(7);
  earlier.Encode(step.forward, nullptr, late.mutable_plan());
  ASSERT_TRUE(leader_->Send(late).ok());
  earlier.EncodeSampling(step.sampling, late.mutable_sampling());
  ASSERT_TRUE(leader_->Send(late).ok());
  Send(1, 1);
  EXPECT_EQ(Take(), 1);
}

TEST_F(StepReaderTest, TheEndOfAnEpochIsToldAtOnceAndComesAfterTheStepsBeforeIt) {
  Send(1, 1);
  message_.mutable_epoch_ends()->set_epoch(kEpoch);
  ASSERT_TRUE(leader_->Send(message_).ok());
  while (!ended_) std::this_thread::yield();
  EXPECT_EQ(Take(), 1);
  EXPECT_EQ(std::get<StepReader::End>(*reader_->Next()), StepReader::End::kEpochEnds);
}

TEST_F(StepReaderTest, StepsCanBeSkipped) {
  for (int32_t token : {1, 2, 3}) Send(token, 1);
  SendStop();
  EXPECT_EQ(*reader_->SkipToEnd(), StepReader::End::kStop);
  EXPECT_EQ(*reader_->SkipToEnd(), StepReader::End::kStop) << "an end stays";
}

TEST_F(StepReaderTest, AnInterruptIsCancelled) {
  const uint64_t one = 1;
  ASSERT_EQ(write(interrupt_.get(), &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
  EXPECT_EQ(reader_->Next().status().code(), absl::StatusCode::kCancelled);
}

TEST_F(StepReaderTest, EndsWhileItWaitsForTheLeader) { reader_.reset(); }

TEST_F(StepReaderTest, EndsWhileItWaitsForRoom) {
  for (int32_t token : {1, 2, 3}) Send(token, 1);
  reader_.reset();
}

TEST_F(StepReaderTest, TellsWhetherAStepIsThere) {
  EXPECT_FALSE(reader_->HasPart(absl::ZeroDuration()));
  Send(1, 1);
  EXPECT_TRUE(reader_->HasPart(absl::Minutes(1)));
  EXPECT_EQ(Take(), 1);
  // The leader's last word is none.
  SendStop();
  EXPECT_FALSE(reader_->HasPart(absl::Minutes(1)));
  EXPECT_EQ(std::get<StepReader::End>(*reader_->Next()), StepReader::End::kStop);
}

}  // namespace
}  // namespace phalanx
