// What the decoder refuses, waits for and passes on.
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/testing/op_recorder.h"
#include "model/checkpoint/checkpoint.h"
#include "model/testing/tiny_model.h"
#include "worker/comm/communicator.h"
#include "worker/model/decoder.h"
#include "worker/model/testing/decoder_fixture.h"
#include "worker/model/testing/rank_group.h"
#include "worker/step/testing/step_builder.h"
#include "worker/weights/decoder_weights.h"

namespace phalanx {
namespace {

// A group whose peers are gone.
class LostCommunicator : public Communicator {
 public:
  int rank() const override { return 0; }
  int world() const override { return 2; }
  absl::Status AllReduceSum(kernels::Stream&, kernels::Tensor) override { return Lost(); }
  absl::Status AllReduceWords(kernels::Stream&, uint64_t*, int64_t, WordOp) override {
    return Lost();
  }
  absl::Status AllGatherWords(kernels::Stream&, const uint64_t*, int64_t, uint64_t*) override {
    return Lost();
  }
  absl::Status Broadcast(kernels::Stream&, void*, size_t) override { return Lost(); }
  absl::Status Barrier() override { return Lost(); }
  uint64_t bytes_sent() const override { return 0; }
  void Abort() override {}

 private:
  static absl::Status Lost() { return absl::DeadlineExceededError("rank 1 did not come"); }
};

// A group whose collectives were queued and then ended early.
class EndedCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int world() const override { return 2; }
  absl::Status AllReduceSum(kernels::Stream&, kernels::Tensor) override { return {}; }
  absl::Status AllReduceWords(kernels::Stream&, uint64_t*, int64_t, WordOp) override { return {}; }
  absl::Status AllGatherWords(kernels::Stream&, const uint64_t*, int64_t, uint64_t*) override {
    return {};
  }
  absl::Status Broadcast(kernels::Stream&, void*, size_t) override { return {}; }
  absl::Status Barrier() override { return {}; }
  absl::Status CheckQueued() override { return absl::AbortedError("ended early"); }
  uint64_t bytes_sent() const override { return 0; }
  void Abort() override {}
};

class DecoderCreateTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<Decoder>> Create(int world, const StepLimits& limits,
                                                  Communicator* comm = nullptr) {
    auto checkpoint = Checkpoint::Open(WriteTinyModel("create.gguf"));
    if (!checkpoint.ok()) return checkpoint.status();
    const ModelSpec& spec = (*checkpoint)->spec();
    const auto shard = ShardModel(spec, 0, world);
    if (!shard.ok()) return shard.status();
    auto weights = LoadDecoderWeights(**checkpoint, spec, *shard, *backend_);
    if (!weights.ok()) return weights.status();
    return Decoder::Create(spec, *shard, *std::move(weights), limits, backend_.get(),
                           world == 1        ? nullptr
                           : comm != nullptr ? comm
                                             : &comm_,
                           absl::Minutes(1));
  }

  std::unique_ptr<kernels::Backend> backend_ = Cpu();
  LostCommunicator comm_;
};

TEST_F(DecoderCreateTest, AnAbortedCommunicatorEndsTheStepOfARankAlone) {
  RankGroup group(WriteTinyModel("aborted.gguf"), 1, kLimits, Cpu);
  TestSequence sequence = Sequence(0, RandomTokens(5, 1));
  StepBuilder builder;
  builder.Add(sequence, 5);
  group.communicator(0).Abort();
  EXPECT_EQ(group.Run(builder.Finish()).status().code(), absl::StatusCode::kAborted);
}

TEST_F(DecoderCreateTest, AnAbortedDecoderRunsNoMoreSteps) {
  const auto decoder = Create(1, kLimits);
  ASSERT_TRUE(decoder.ok()) << decoder.status();
  TestSequence sequence = Sequence(0, RandomTokens(5, 1));
  for (const bool aborted : {false, true}) {
    if (aborted) std::thread([&] { (*decoder)->Abort(); }).join();
    StepBuilder builder;
    builder.Add(sequence, 1);
    EXPECT_EQ((*decoder)->Run(builder.Finish()).status().code(),
              aborted ? absl::StatusCode::kAborted : absl::StatusCode::kOk);
  }
}

// A stream whose ops are never done, but for those at start, which are waited for without a limit.
class HangingStream final : public kernels::Stream {
 public:
  explicit HangingStream(absl::Duration* timeout) : timeout_(timeout) {}
  absl::Status Synchronize(absl::Duration timeout) override {
    if (timeout == absl::InfiniteDuration()) return absl::OkStatus();
    *timeout_ = timeout;
    return absl::DeadlineExceededError("the device does not answer");
  }
  void Abort() override {}

 private:
  absl::Duration* const timeout_;
};

class HangingBackend final : public kernels::OpRecorder {
 public:
  explicit HangingBackend(absl::Duration* timeout) : OpRecorder(Cpu()), timeout_(timeout) {}
  std::unique_ptr<kernels::Stream> NewStream() override {
    return std::make_unique<HangingStream>(timeout_);
  }

 private:
  absl::Duration* const timeout_;
};

TEST_F(DecoderCreateTest, WaitsForAStepNoLongerThanItsTimeout) {
  absl::Duration timeout;
  backend_ = std::make_unique<HangingBackend>(&timeout);
  const auto decoder = Create(1, kLimits);
  ASSERT_TRUE(decoder.ok()) << decoder.status();
  TestSequence sequence = Sequence(0, RandomTokens(5, 1));
  StepBuilder builder;
  builder.Add(sequence, 5);
  EXPECT_EQ((*decoder)->Run(builder.Finish()).status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(timeout, absl::Minutes(1));
}

TEST_F(DecoderCreateTest, AloneItNeedsNoCommunicator) {
  const auto decoder = Create(1, kLimits);
  ASSERT_TRUE(decoder.ok()) << decoder.status();
  TestSequence sequence = Sequence(0, RandomTokens(5, 1));
  StepBuilder builder;
  builder.Add(sequence, 5);
  EXPECT_TRUE((*decoder)->Run(builder.Finish()).ok());
}

TEST_F(DecoderCreateTest, ErrorOfCollectivesThatWereQueuedIsPassedOn) {
  EndedCommunicator ended;
  const auto decoder = Create(2, kLimits, &ended);
  ASSERT_TRUE(decoder.ok()) << decoder.status();
  TestSequence sequence = Sequence(0, RandomTokens(5, 1));
  StepBuilder builder;
  builder.Add(sequence, 5);
  EXPECT_EQ((*decoder)->Run(builder.Finish()).status(), absl::AbortedError("ended early"));
}

TEST_F(DecoderCreateTest, ErrorOfACollectiveIsPassedOn) {
  const auto decoder = Create(2, kLimits);
  ASSERT_TRUE(decoder.ok()) << decoder.status();
  TestSequence sequence = Sequence(0, RandomTokens(5, 1));
  StepBuilder builder;
  builder.Add(sequence, 5);
  const absl::Status status = (*decoder)->Run(builder.Finish()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("rank 1"));
}

TEST_F(DecoderCreateTest, LimitsBelowOneAreRefused) {
  for (int StepLimits::*limit : {&StepLimits::max_step_tokens, &StepLimits::max_seqs,
                                 &StepLimits::max_blocks_per_seq, &StepLimits::kv_blocks}) {
    StepLimits limits = kLimits;
    limits.*limit = 0;
    EXPECT_EQ(Create(1, limits).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace phalanx
