#include "worker/group/step_plan_codec.h"

#include <functional>
#include <vector>

#include "gtest/gtest.h"
#include "worker/step/testing/step_builder.h"

namespace phalanx {
namespace {

constexpr uint64_t kEpoch = 7;

Step TwoSequences(int32_t first_token = 5) {
  TestSequence prompt{.tokens = {first_token, 6, 7}, .blocks = {8}, .slot = 1};
  TestSequence decoding{.tokens = std::vector<int32_t>(20, 9),
                        .cached_tokens = 19,
                        .blocks = {1, 2},
                        .slot = 0,
                        .rope_list = 1};
  StepBuilder builder;
  builder.Add(prompt, 3);
  builder.Add(decoding, 1, {.temperature = 0.5f, .seed = 3});
  builder.Score(0, 6);
  return builder.Finish();
}

TEST(StepPlanCodecTest, RanksReceiveTheStepsThatTheLeaderSent) {
  StepSequence leader(kEpoch);
  StepSequence rank(kEpoch);
  worker::v1::StepPlan plan;
  for (int i = 0; i < 3; ++i) {
    const Step step = TwoSequences(i);
    leader.Encode(step, &plan);
    EXPECT_EQ(plan.step(), static_cast<uint64_t>(i));
    const absl::StatusOr<Step> received = rank.Decode(plan);
    ASSERT_TRUE(received.ok()) << received.status();
    EXPECT_EQ(received->forward.bytes(), step.forward.bytes());
    EXPECT_EQ(received->sampling.bytes(), step.sampling.bytes());
  }
}

TEST(StepPlanCodecTest, AnyChangedByteIsNoticed) {
  using Plan = worker::v1::StepPlan;
  std::vector<std::function<void(Plan&)>> changes = {
      [](Plan& plan) { plan.mutable_forward()->push_back(0); },
      [](Plan& plan) { plan.mutable_sampling()->pop_back(); },
      [](Plan& plan) { plan.set_hash(plan.hash() + 1); },
      [](Plan& plan) { plan.set_step(1); },
      [](Plan& plan) { plan.set_epoch(kEpoch + 1); },
  };
  const Step step = TwoSequences();
  for (size_t i = 0; i < step.forward.bytes().size(); ++i) {
    changes.push_back([i](Plan& plan) { (*plan.mutable_forward())[i] ^= 1; });
  }
  for (size_t i = 0; i < step.sampling.bytes().size(); ++i) {
    changes.push_back([i](Plan& plan) { (*plan.mutable_sampling())[i] ^= 64; });
  }
  for (const auto& change : changes) {
    StepSequence leader(kEpoch);
    StepSequence rank(kEpoch);
    Plan plan;
    leader.Encode(step, &plan);
    change(plan);
    EXPECT_EQ(rank.Decode(plan).status().code(), absl::StatusCode::kDataLoss);
  }
}

TEST(StepPlanCodecTest, ADifferentHistoryIsNoticedForEver) {
  StepSequence leader(kEpoch);
  StepSequence other_leader(kEpoch);
  StepSequence rank(kEpoch);
  worker::v1::StepPlan plan;
  other_leader.Encode(TwoSequences(1), &plan);
  ASSERT_TRUE(rank.Decode(plan).ok());
  leader.Encode(TwoSequences(), &plan);
  leader.Encode(TwoSequences(), &plan);
  EXPECT_FALSE(rank.Decode(plan).ok());
}

// The tables of sequences with long contexts do not travel with every step.
TEST(StepPlanCodecTest, ADecodeOf32LongSequencesTakesLessThan16KiB) {
  StepBuilder builder;
  for (int slot = 0; slot < 32; ++slot) {
    TestSequence sequence{.tokens = std::vector<int32_t>(32769, 1),
                          .cached_tokens = 32768,
                          .blocks = std::vector<int32_t>(2049, 5),
                          .slot = slot,
                          // The worst case: each one begins a block.
                          .blocks_told = 2048};
    builder.Add(sequence, 1);
  }
  StepSequence leader(kEpoch);
  worker::v1::StepPlan plan;
  leader.Encode(builder.Finish(), &plan);
  EXPECT_LT(plan.ByteSizeLong(), 16u << 10);
}

}  // namespace
}  // namespace phalanx
