// The forward pass on ranks that queue it: emulated GPUs, with NCCL's stand-in between them. Steps
// of one token a sequence are replays of what was recorded when the decoder was made.
#include <algorithm>
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

using kernels::DType;

std::unique_ptr<kernels::Backend> CudaWith(DType activations) {
  auto backend = kernels::MakeCudaBackend({.activations = activations});
  CHECK_OK(backend.status());
  return *std::move(backend);
}
std::unique_ptr<kernels::Backend> Cuda() { return CudaWith(DType::kF32); }
std::unique_ptr<kernels::Backend> CudaInBFloat16() { return CudaWith(DType::kBF16); }

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

// As with two steps in flight, where the sampling needs the token of the step before. Decodes are
// recordings.
TEST(DecoderNcclTest, AStepMayBeAwaitedBetweenThePartsOfTheNext) {
  constexpr int kSteps = 8;
  RankGroup group(WriteTinyModel("nccl_parts.gguf"), kLimits, Cuda, NcclRanks(1));
  const auto expected = Greedy(group, kSteps);
  Decoder& decoder = group.decoder(0);
  std::vector<TestSequence> sequences = {Sequence(0, RandomTokens(23, 1)),
                                         Sequence(1, RandomTokens(9, 2))};
  std::vector<std::vector<int32_t>> texts = {sequences[0].tokens, sequences[1].tokens};
  const auto await = [&] {
    const auto step = decoder.Await();
    ASSERT_TRUE(step.ok()) << step.status();
    for (size_t s = 0; s < texts.size(); ++s) texts[s].push_back(step->tokens[s]);
  };
  for (int i = 0; i < kSteps; ++i) {
    StepBuilder builder;
    for (TestSequence& sequence : sequences) builder.Add(sequence, sequence.pending_tokens());
    const Step step = builder.Finish();
    ASSERT_TRUE(decoder.LaunchForward(step.forward).ok());
    if (i > 0) await();
    ASSERT_TRUE(decoder.LaunchSampling(step.sampling).ok());
    for (TestSequence& sequence : sequences) sequence.tokens.push_back(kernels::kLastToken);
  }
  await();
  EXPECT_EQ(texts, expected);
}

// Contexts of so many tokens that blocks share out the segments of a sequence.
constexpr StepLimits kLongLimits = {
    .max_step_tokens = 64, .max_seqs = 4, .max_blocks_per_seq = 20, .kv_blocks = 80};

// A model whose attention is made for the tensor cores if heads have 64 dimensions.
std::string WriteModel(const std::string& name, int num_layers, int head_dim,
                       int num_kv_heads = 2) {
  return WriteTinyModel(name, {.num_layers = num_layers,
                               .num_q_heads = 2 * num_kv_heads,
                               .num_kv_heads = num_kv_heads,
                               .head_dim = head_dim,
                               .context_tokens = 320});
}

// Kernels of one step in which `seqs` sequences decode, on each of the ranks; what NCCL's stand-in
// does is none.
uint64_t KernelsOfADecode(const std::string& path, int seqs, int world) {
  StepLimits limits = kLongLimits;
  limits.max_step_tokens = 256;
  limits.max_seqs = seqs;
  RankGroup group(path, limits, CudaInBFloat16, NcclRanks(world));
  std::vector<TestSequence> sequences;
  for (int i = 0; i < seqs; ++i) {
    sequences.push_back(
        {.tokens = RandomTokens(5 + i, 3 + i), .blocks = {1 + 2 * i, 2 + 2 * i}, .slot = i});
  }
  uint64_t before = 0;
  for (int step = 0; step < 2; ++step) {
    StepBuilder builder;
    for (TestSequence& sequence : sequences) builder.Add(sequence, sequence.pending_tokens());
    before = kernels::cuda::emulator::Launches();
    EXPECT_TRUE(group.Run(builder.Finish()).ok());
    for (TestSequence& sequence : sequences) sequence.tokens.push_back(1);
  }
  return (kernels::cuda::emulator::Launches() - before) / world;
}

// Query, key and value with their norm; rotation and attention; its output; gate and up with their
// norm; down. Of more than 8 sequences, each norm is a kernel of its own.
TEST(DecoderNcclTest, ADecodeOnOneRankTakesFiveKernelsALayerAndSevenForManySequences) {
  for (const int head_dim : {32, 64}) {
    const std::string two = WriteModel("two_layers.gguf", 2, head_dim);
    const std::string five = WriteModel("five_layers.gguf", 5, head_dim);
    for (const auto& [seqs, kernels] : {std::pair(1, 5u), {8, 5u}, {9, 7u}, {18, 7u}}) {
      EXPECT_EQ(KernelsOfADecode(five, seqs, 1) - KernelsOfADecode(two, seqs, 1), 3 * kernels)
          << seqs << " sequences, heads of " << head_dim;
    }
  }
}

// Norms follow the sums over ranks; with more than two ranks, whose order is ours, these are part
// of the kernels that take the norms.
TEST(DecoderNcclTest, ADecodeOnSeveralRanksTakesSevenKernelsALayerBesideNccls) {
  const std::string two = WriteModel("two_layers_sharded.gguf", 2, 64, 3);
  const std::string five = WriteModel("five_layers_sharded.gguf", 5, 64, 3);
  for (const int world : {2, 3}) {
    for (const int seqs : {1, 9}) {
      EXPECT_EQ(KernelsOfADecode(five, seqs, world) - KernelsOfADecode(two, seqs, world), 3 * 7u)
          << seqs << " sequences on " << world << " ranks";
    }
  }
}

// Kernels for few rows take norms themselves, those for many do not, and blocks share out the
// segments of a decode: all of it gives the same bits.
TEST(DecoderNcclTest, LogitsInBFloat16AreTheSameBitsHoweverAPromptIsCut) {
  const std::vector<int32_t> prompt = RandomTokens(264, 4);
  for (const int head_dim : {32, 64}) {
    RankGroup group(WriteModel("cut.gguf", 1, head_dim), kLongLimits, CudaInBFloat16, NcclRanks(1));
    // The last `singles` tokens come one by one, as in a decode.
    const auto logits = [&](int slot, int chunk, int singles) {
      TestSequence sequence = {.tokens = prompt, .slot = slot};
      for (int i = 0; i < kLongLimits.max_blocks_per_seq; ++i) {
        sequence.blocks.push_back(1 + i * kLongLimits.max_seqs + slot);
      }
      while (sequence.pending_tokens() > 0) {
        const int in_chunks = sequence.pending_tokens() - singles;
        StepBuilder builder;
        builder.Add(sequence, in_chunks > 0 ? std::min(chunk, in_chunks) : 1);
        EXPECT_TRUE(group.Run(builder.Finish()).ok());
      }
      return group.Logits(0);
    };
    EXPECT_EQ(logits(1, 8, 12), logits(0, 64, 0)) << "heads of " << head_dim;
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

// Forward passes are recorded anew, with the collectives of the new communicators.
TEST(DecoderNcclTest, AGroupThatHasFormedAgainDrawsTheSameTokens) {
  RankGroup group(WriteTinyModel("nccl_rejoin.gguf"), kLimits, Cuda, NcclRanks(2));
  const auto expected = Greedy(group, 8);
  group.communicator(1).Abort();
  group.Rejoin(NcclRanks(2));
  EXPECT_EQ(Greedy(group, 8), expected);
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
