// Decoders that go on in a group that has formed again.
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "model/testing/tiny_model.h"
#include "worker/comm/shm_communicator.h"
#include "worker/model/decoder.h"
#include "worker/model/testing/decoder_fixture.h"
#include "worker/model/testing/rank_group.h"
#include "worker/step/testing/step_builder.h"

namespace phalanx {
namespace {

// The next `steps` tokens after `sequence`.
std::vector<int32_t> Greedy(RankGroup& group, TestSequence& sequence, int steps) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < steps; ++i) {
    StepBuilder builder;
    builder.Add(sequence, sequence.pending_tokens());
    const auto step = group.Run(builder.Finish());
    if (!step.ok()) {
      ADD_FAILURE() << step.status();
      break;
    }
    tokens.push_back(step->tokens[0]);
    sequence.tokens.push_back(step->tokens[0]);
  }
  return tokens;
}

TEST(DecoderRejoinTest, DrawsTheTokensThatItWouldHaveDrawn) {
  for (int world = 1; world <= 3; ++world) {
    SCOPED_TRACE(world);
    RankGroup group(WriteTinyModel("rejoin.gguf"), world, kLimits, Cpu);
    TestSequence undisturbed = Sequence(0, RandomTokens(23, 1));
    const std::vector<int32_t> expected = Greedy(group, undisturbed, 8);

    TestSequence lost = Sequence(1, RandomTokens(23, 1));
    Greedy(group, lost, 3);
    group.communicator(world - 1).Abort();
    group.decoder(0).Abort();
    if (world > 1) {
      StepBuilder builder;
      builder.Add(lost, 1);
      EXPECT_EQ(group.Run(builder.Finish()).status().code(), absl::StatusCode::kAborted);
    }
    group.Rejoin(MakeLocalGroup(world));
    // In the slot and the blocks that another sequence had, whose tables must not be known any
    // more.
    TestSequence again = Sequence(0, RandomTokens(23, 1));
    EXPECT_EQ(Greedy(group, again, 8), expected);
  }
}

// A step of a sequence that only the old decoder knows.
TEST(DecoderRejoinTest, KnowsNoSequenceFromBefore) {
  RankGroup group(WriteTinyModel("rejoin_unknown.gguf"), 1, kLimits, Cpu);
  TestSequence sequence = Sequence(0, RandomTokens(5, 1));
  Greedy(group, sequence, 2);
  group.Rejoin(MakeLocalGroup(1));
  StepBuilder builder;
  builder.Add(sequence, 1);
  EXPECT_EQ(group.Run(builder.Finish()).status().code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace phalanx
