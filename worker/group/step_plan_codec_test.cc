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
    leader.Encode(step.forward, &step.sampling, &plan);
    EXPECT_EQ(plan.step(), static_cast<uint64_t>(i));
    const absl::StatusOr<StepSequence::Parts> received = rank.Decode(plan);
    ASSERT_TRUE(received.ok()) << received.status();
    EXPECT_EQ(received->forward.bytes(), step.forward.bytes());
    ASSERT_TRUE(received->sampling.has_value());
    EXPECT_EQ(received->sampling->bytes(), step.sampling.bytes());
  }
}

TEST(StepPlanCodecTest, TheSamplingMayComeByItself) {
  StepSequence leader(kEpoch);
  StepSequence rank(kEpoch);
  worker::v1::StepPlan plan;
  worker::v1::StepSampling late;
  for (int i = 0; i < 4; ++i) {
    const Step step = TwoSequences(i);
    const bool in_one = i == 2;
    leader.Encode(step.forward, in_one ? &step.sampling : nullptr, &plan);
    const absl::StatusOr<StepSequence::Parts> received = rank.Decode(plan);
    ASSERT_TRUE(received.ok()) << received.status();
    EXPECT_EQ(received->forward.bytes(), step.forward.bytes());
    EXPECT_EQ(received->sampling.has_value(), in_one);
    if (in_one) continue;
    leader.EncodeSampling(step.sampling, &late);
    EXPECT_EQ(late.step(), static_cast<uint64_t>(i));
    const absl::StatusOr<SamplingBlock> sampling = rank.DecodeSampling(late);
    ASSERT_TRUE(sampling.ok()) << sampling.status();
    EXPECT_EQ(sampling->bytes(), step.sampling.bytes());
  }
}

TEST(StepPlanCodecTest, APartThatIsMissingOrChangedIsNoticed) {
  const Step step = TwoSequences();
  worker::v1::StepPlan plan;
  worker::v1::StepSampling late;
  StepSequence leader(kEpoch);
  leader.Encode(step.forward, nullptr, &plan);
  leader.EncodeSampling(step.sampling, &late);
  EXPECT_TRUE(absl::IsDataLoss(StepSequence(kEpoch).DecodeSampling(late).status()));
  StepSequence rank(kEpoch);
  ASSERT_TRUE(rank.Decode(plan).ok());
  worker::v1::StepPlan next;
  StepSequence(leader).Encode(step.forward, &step.sampling, &next);
  EXPECT_TRUE(absl::IsDataLoss(StepSequence(rank).Decode(next).status()));
  for (const auto& change : std::vector<std::function<void(worker::v1::StepSampling&)>>{
           [](auto& message) { message.set_epoch(kEpoch + 1); },
           [](auto& message) { message.set_step(1); },
           [](auto& message) { message.set_hash(message.hash() ^ 1); },
           [](auto& message) { (*message.mutable_sampling())[70] ^= 1; }}) {
    worker::v1::StepSampling changed = late;
    change(changed);
    EXPECT_TRUE(absl::IsDataLoss(StepSequence(rank).DecodeSampling(changed).status()));
  }
  EXPECT_TRUE(rank.DecodeSampling(late).ok());
  EXPECT_TRUE(rank.Decode(next).ok());
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
    leader.Encode(step.forward, &step.sampling, &plan);
    change(plan);
    EXPECT_EQ(rank.Decode(plan).status().code(), absl::StatusCode::kDataLoss);
  }
}

TEST(StepPlanCodecTest, ADifferentHistoryIsNoticedForEver) {
  StepSequence leader(kEpoch);
  StepSequence other_leader(kEpoch);
  StepSequence rank(kEpoch);
  worker::v1::StepPlan plan;
  const auto encode = [&plan](StepSequence& sequence, const Step& step) {
    sequence.Encode(step.forward, &step.sampling, &plan);
  };
  encode(other_leader, TwoSequences(1));
  ASSERT_TRUE(rank.Decode(plan).ok());
  encode(leader, TwoSequences());
  encode(leader, TwoSequences());
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
  const Step step = builder.Finish();
  leader.Encode(step.forward, &step.sampling, &plan);
  EXPECT_LT(plan.ByteSizeLong(), 16u << 10);
}

}  // namespace
}  // namespace phalanx
