// The forward pass on ranks that queue it: emulated GPUs, with NCCL's stand-in between them. Steps
// of one token a sequence are replays of what was recorded when the decoder was made.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "base/log.h"
#include "gtest/gtest.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/testing/emulator.h"
#include "model/testing/tiny_model.h"
#include "worker/comm/nccl_communicator_factory.h"
#include "worker/comm/testing/nccl_stand_in.h"
#include "worker/model/testing/decoder_fixture.h"
#include "worker/model/testing/rank_group.h"
#include "worker/step/testing/step_builder.h"

namespace phalanx {
namespace {

std::unique_ptr<kernels::Backend> Cuda() {
  auto backend = kernels::MakeCudaBackend({.activations = kernels::DType::kF32});
  CHECK_OK(backend.status());
  return *std::move(backend);
}

// A rank for each table of functions, all of which are lent.
std::vector<std::unique_ptr<Communicator>> NcclRanks(const std::vector<const NcclApi*>& apis) {
  const int world = static_cast<int>(apis.size());
  auto meeting = NcclCommunicatorFactory(*apis[0], {}).Meet(world, absl::Minutes(1));
  CHECK_OK(meeting.status());
  std::vector<std::unique_ptr<Communicator>> ranks;
  ranks.push_back(std::move(meeting->communicator));
  for (int rank = 1; rank < world; ++rank) {
    auto joined = NcclCommunicatorFactory(*apis[rank], {})
                      .Join(meeting->invitation, rank, world, absl::Minutes(1));
    CHECK_OK(joined.status());
    ranks.push_back(*std::move(joined));
  }
  return ranks;
}

std::vector<std::unique_ptr<Communicator>> NcclRanks(int world) {
  return NcclRanks(std::vector<const NcclApi*>(world, &NcclStandIn()));
}

// The tokens of two sequences that are decoded side by side.
std::vector<std::vector<int32_t>> Greedy(RankGroup& group, int steps) {
  std::vector<TestSequence> sequences = {Sequence(0, RandomTokens(23, 1)),
                                         Sequence(1, RandomTokens(9, 2))};
  for (int i = 0; i < steps; ++i) {
    StepBuilder builder;
    for (TestSequence& sequence : sequences) builder.Add(sequence, sequence.pending_tokens());
    const auto step = group.Run(builder.Finish());
    if (!step.ok()) {
      ADD_FAILURE() << step.status();
      break;
    }
    for (size_t s = 0; s < sequences.size(); ++s) sequences[s].tokens.push_back(step->tokens[s]);
  }
  return {sequences[0].tokens, sequences[1].tokens};
}

TEST(DecoderNcclTest, TokensAreThoseOfOneCpuOnAnyNumberOfRanks) {
  constexpr int kSteps = 8;
  const std::string path = WriteTinyModel("nccl.gguf");
  RankGroup alone(path, 1, kLimits, Cpu);
  const auto expected = Greedy(alone, kSteps);
  for (int world = 1; world <= 3; ++world) {
    SCOPED_TRACE(world);
    RankGroup group(path, kLimits, Cuda, NcclRanks(world));
    EXPECT_EQ(Greedy(group, kSteps), expected);
  }
}

// Rank 1 comes to each sum an hour after rank 0, by the emulator's clock.
std::counting_semaphore<> arrivals(0);
std::atomic<int> num_late_sums = 0;

NcclResult SumOfFirst(const void* send, void* receive, size_t count, NcclType type, NcclOp op,
                      NcclComm comm, cudaStream_t stream) {
  kernels::cuda::emulator::Enqueue(stream, [] { arrivals.release(); });
  return NcclStandIn().AllReduce(send, receive, count, type, op, comm, stream);
}

NcclResult SumOfLate(const void* send, void* receive, size_t count, NcclType type, NcclOp op,
                     NcclComm comm, cudaStream_t stream) {
  kernels::cuda::emulator::Enqueue(stream, [] {
    arrivals.acquire();
    ++num_late_sums;
    kernels::cuda::emulator::AdvanceClock(std::chrono::hours(1));
  });
  return NcclStandIn().AllReduce(send, receive, count, type, op, comm, stream);
}

TEST(DecoderNcclTest, OneStepInSoManyTellsHowLongItsCollectivesTook) {
  NcclApi first = NcclStandIn();
  first.AllReduce = SumOfFirst;
  NcclApi late = NcclStandIn();
  late.AllReduce = SumOfLate;
  RankGroup group(WriteTinyModel("late.gguf"), kLimits, Cuda, NcclRanks({&first, &late}));
  TestSequence sequence = Sequence(0, RandomTokens(9, 1));
  // Steps 0 and 64: one is a prompt, the other one a replay.
  for (int i = 0; i <= Decoder::kTimedSteps + 1; ++i) {
    StepBuilder builder;
    builder.Add(sequence, sequence.pending_tokens());
    const int before = num_late_sums;
    const auto step = group.Run(builder.Finish());
    ASSERT_TRUE(step.ok()) << step.status();
    sequence.tokens.push_back(step->tokens[0]);
    ASSERT_EQ(step->comm_time.has_value(), i % Decoder::kTimedSteps == 0) << i;
    if (!step->comm_time.has_value()) continue;
    const int sums = num_late_sums - before;
    EXPECT_GE(sums, 2 * group.spec().num_layers + 1);
    EXPECT_GE(*step->comm_time, absl::Hours(sums) - absl::Seconds(1));
    EXPECT_LT(*step->comm_time, absl::Hours(sums) + absl::Minutes(10));
  }
}

// A rank that does not come stops the stream, until the group's monitor aborts the communicator:
// then the stream runs on with results that nobody may take.
TEST(DecoderNcclTest, AStepWithoutItsPeersEndsWithTheAbort) {
  RankGroup group(WriteTinyModel("alone.gguf"), kLimits, Cuda, NcclRanks(2));
  TestSequence sequence = Sequence(0, RandomTokens(9, 1));
  StepBuilder builder;
  builder.Add(sequence, sequence.pending_tokens());
  ASSERT_TRUE(group.decoder(0).Launch(builder.Finish()).ok());
  std::thread monitor([&] { group.communicator(0).Abort(); });
  const absl::Status status = group.decoder(0).Await().status();
  EXPECT_TRUE(absl::IsAborted(status)) << status;
  monitor.join();
}

}  // namespace
}  // namespace phalanx
