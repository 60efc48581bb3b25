#include "worker/group/step_plan_codec.h"

#include <functional>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

constexpr uint64_t kEpoch = 7;

StepInput TwoSequences() {
  return {.token_ids = {5, 6, 7, 9},
          .positions = {0, 1, 2, 40},
          .query_starts = {0, 3, 4},
          .kv_lengths = {3, 41},
          .block_tables = {8, 0, 0, 1, 2, 3},
          .max_blocks_per_seq = 3,
          .rope_lists = {0, 1},
          .logit_rows = {3},
          .score_rows = {0, 1}};
}

TEST(StepPlanCodecTest, RanksReceiveTheStepsThatTheLeaderSent) {
  StepSequence leader(kEpoch);
  StepSequence rank(kEpoch);
  worker::v1::StepPlan plan;
  for (int step = 0; step < 3; ++step) {
    StepInput input = TwoSequences();
    input.token_ids[0] = step;
    leader.Encode(input, &plan);
    EXPECT_EQ(plan.step(), static_cast<uint64_t>(step));
    const absl::StatusOr<StepInput> received = rank.Decode(plan);
    ASSERT_TRUE(received.ok()) << received.status();
    EXPECT_EQ(received->token_ids, input.token_ids);
    EXPECT_EQ(received->positions, input.positions);
    EXPECT_EQ(received->query_starts, input.query_starts);
    EXPECT_EQ(received->kv_lengths, input.kv_lengths);
    EXPECT_EQ(received->block_tables, input.block_tables);
    EXPECT_EQ(received->max_blocks_per_seq, input.max_blocks_per_seq);
    EXPECT_EQ(received->rope_lists, input.rope_lists);
    EXPECT_EQ(received->logit_rows, input.logit_rows);
    EXPECT_EQ(received->score_rows, input.score_rows);
  }
}

TEST(StepPlanCodecTest, AnyChangedNumberIsNoticed) {
  using Plan = worker::v1::StepPlan;
  const std::function<void(Plan&)> changes[] = {
      [](Plan& plan) { plan.set_token_ids(1, 99); },
      [](Plan& plan) { plan.set_positions(3, 41); },
      [](Plan& plan) { plan.add_query_starts(4); },
      [](Plan& plan) { plan.set_kv_lengths(0, 4); },
      [](Plan& plan) { plan.set_block_tables(5, 4); },
      [](Plan& plan) { plan.set_max_blocks_per_seq(4); },
      [](Plan& plan) { plan.clear_logit_rows(); },
      [](Plan& plan) { plan.set_rope_lists(0, 1); },
      [](Plan& plan) { plan.set_score_rows(1, 2); },
      [](Plan& plan) { plan.set_hash(plan.hash() + 1); },
      [](Plan& plan) { plan.set_step(1); },
      [](Plan& plan) { plan.set_epoch(kEpoch + 1); },
  };
  for (const auto& change : changes) {
    StepSequence leader(kEpoch);
    StepSequence rank(kEpoch);
    Plan plan;
    leader.Encode(TwoSequences(), &plan);
    change(plan);
    EXPECT_EQ(rank.Decode(plan).status().code(), absl::StatusCode::kInternal);
  }
}

TEST(StepPlanCodecTest, ADifferentHistoryIsNoticedForEver) {
  StepSequence leader(kEpoch);
  StepSequence other_leader(kEpoch);
  StepSequence rank(kEpoch);
  worker::v1::StepPlan plan;
  StepInput other = TwoSequences();
  other.token_ids[0] = 1;
  other_leader.Encode(other, &plan);
  ASSERT_TRUE(rank.Decode(plan).ok());
  leader.Encode(TwoSequences(), &plan);
  leader.Encode(TwoSequences(), &plan);
  EXPECT_FALSE(rank.Decode(plan).ok());
}

}  // namespace
}  // namespace phalanx
