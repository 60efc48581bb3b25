#include "worker/engine/scheduler.h"

#include <cstdint>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/engine/testing/scheduler_fixture.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;

TEST_F(SchedulerTest, PrefillsAPromptInOneStepAndThenDecodes) {
  Limits(32, 4, 16);
  Arrives(10);
  EXPECT_EQ(Step(), "0:10*");
  EXPECT_EQ(Step(), "0:1*");
  EXPECT_EQ(Step(), "0:1*");
}

TEST_F(SchedulerTest, EachTokenIsDrawnAsItsSequenceAsks) {
  Limits(32, 4, 16);
  const std::vector<Sampling> asked = {
      {.temperature = 0.5f, .top_k = 3, .top_p = 0.75f},
      {.temperature = 0, .top_k = 0, .top_p = 1},
  };
  for (size_t i = 0; i < asked.size(); ++i) {
    scheduler_->Add(SequenceId{i}, {.prompt_token_ids = std::vector<int32_t>(4 + i, 7),
                                    .max_new_tokens = 1000,
                                    .sampling = asked[i],
                                    .seed = uint64_t{8} + i,
                                    .rope = {},
                                    .score = false});
  }
  // From the prompt, and again from a token.
  for (int step = 0; step < 2; ++step) {
    Step();
    ASSERT_EQ(Rows().sampling.size(), asked.size());
    for (size_t i = 0; i < asked.size(); ++i) {
      const auto& drawn = Rows().sampling[i];
      EXPECT_EQ(drawn.temperature, asked[i].temperature);
      EXPECT_EQ(drawn.top_k, asked[i].top_k);
      EXPECT_EQ(drawn.top_p, asked[i].top_p);
      EXPECT_EQ(drawn.seed, 8 + i);
      EXPECT_EQ(drawn.position, static_cast<int>(4 + i) + step);
    }
  }
}

TEST_F(SchedulerTest, PlansNothingWithoutSequences) {
  Limits(32, 4, 16);
  EXPECT_EQ(Step(), "");
  EXPECT_TRUE(scheduler_->empty());
}

TEST_F(SchedulerTest, CutsALongPromptAtTheTokenBudget) {
  Limits(16, 4, 16);
  Arrives(40);
  EXPECT_EQ(Step(), "0:16");
  EXPECT_EQ(Step(), "0:16");
  EXPECT_EQ(Step(), "0:8*");
  EXPECT_EQ(Step(), "0:1*");
}

TEST_F(SchedulerTest, DecodesGoFirstAndPrefillTakesTheRest) {
  Limits(16, 4, 32);
  Arrives(40);
  Steps(3);
  Arrives(5);
  EXPECT_EQ(Step(), "0:1* 1:5*");
  Arrives(40);
  EXPECT_EQ(Step(), "0:1* 1:1* 2:14");
  EXPECT_EQ(Step(), "0:1* 1:1* 2:14");
  EXPECT_EQ(Step(), "0:1* 1:1* 2:12*");
}

TEST_F(SchedulerTest, PrefillsInOrderOfArrival) {
  Limits(16, 4, 32);
  Arrives(20);
  Arrives(20);
  Arrives(3);
  EXPECT_EQ(Step(), "0:16");
  EXPECT_EQ(Step(), "0:4* 1:12");
  EXPECT_EQ(Step(), "0:1* 1:8* 2:3*");
}

TEST_F(SchedulerTest, APrefillAdvancesBesideAsManyDecodesAsThereCanBe) {
  Limits(3, 3, 32);
  Arrives(6);
  Arrives(1);
  Arrives(1);
  EXPECT_EQ(Step(), "0:3");
  EXPECT_EQ(Step(), "0:3*");
  Arrives(6);
  EXPECT_EQ(Step(), "0:1* 1:1* 2:1*");
  Leaves(1);
  EXPECT_EQ(Step(), "0:1* 2:1* 3:1");
  EXPECT_EQ(Step(), "0:1* 2:1* 3:1");
}

TEST_F(SchedulerTest, RunsAtMostMaxSeqs) {
  Limits(32, 2, 32);
  for (int i = 0; i < 3; ++i) Arrives(2);
  EXPECT_EQ(Step(), "0:2* 1:2*");
  EXPECT_EQ(scheduler_->running(), 2);
  EXPECT_EQ(scheduler_->waiting(), 1);
  Leaves(0);
  EXPECT_EQ(Step(), "1:1* 2:2*");
}

TEST_F(SchedulerTest, ASequenceWaitsUntilTheBlocksOfItsPromptAreFree) {
  Limits(128, 4, 4);
  Arrives(33);
  Arrives(17);
  EXPECT_EQ(Step(), "0:33*");
  EXPECT_EQ(scheduler_->used_blocks(), 3);
  EXPECT_EQ(Step(), "0:1*");
  Leaves(0);
  EXPECT_EQ(scheduler_->used_blocks(), 0);
  EXPECT_EQ(Step(), "1:17*");
}

TEST_F(SchedulerTest, NoneOvertakesTheOldestThatWaits) {
  Limits(128, 4, 4);
  Arrives(33);
  Arrives(33);
  Arrives(1);
  EXPECT_EQ(Step(), "0:33*");
  EXPECT_EQ(Step(), "0:1*");
}

TEST_F(SchedulerTest, ANewcomerLeavesABlockOfGrowthToEachRunningSequence) {
  Limits(128, 4, 5);
  Arrives(16);
  Arrives(16);
  Arrives(17);
  EXPECT_EQ(Step(), "0:16* 1:16*") << "two blocks, two to grow into, so one for a third";
  Leaves(0);
  EXPECT_EQ(Step(), "1:1* 2:17*");
}

TEST_F(SchedulerTest, PreemptsTheYoungestWhenBlocksRunOut) {
  Limits(128, 4, 4);
  Arrives(16);
  Arrives(16);
  EXPECT_EQ(Step(), "0:16* 1:16*");
  Steps(16);
  EXPECT_EQ(scheduler_->used_blocks(), 4);
  EXPECT_EQ(Step(), "0:1*") << "position 32 of sequence 0 needs a third block";
  EXPECT_EQ(plan_.preemptions, 1);
  EXPECT_EQ(scheduler_->used_blocks(), 3);
  EXPECT_EQ(scheduler_->waiting(), 1);
}

TEST_F(SchedulerTest, TheYoungestPreemptsItselfWhenItNeedsABlock) {
  Limits(128, 4, 3);
  Arrives(15);
  Arrives(10);
  EXPECT_EQ(Step(), "0:15* 1:10*");
  Steps(6);
  EXPECT_EQ(scheduler_->used_blocks(), 3);
  EXPECT_EQ(Step(), "0:1*") << "position 16 of sequence 1 needs a second block";
  EXPECT_EQ(scheduler_->used_blocks(), 2);
  EXPECT_EQ(scheduler_->waiting(), 1);
}

TEST_F(SchedulerTest, APreemptedSequenceComputesItsDrawnTokensAgainAndGoesOn) {
  Limits(128, 4, 4);
  Arrives(16);
  Arrives(16);
  Steps(18);
  ASSERT_EQ(plan_.preemptions, 1);
  Leaves(0);
  EXPECT_EQ(Step(), "1:33*") << "a prompt of 16 and the 17 tokens drawn so far";
  EXPECT_EQ(Input().positions.front(), 0);
  EXPECT_EQ(Rows().sampling[0].position, 33);
  EXPECT_EQ(Step(), "1:1*");
}

TEST_F(SchedulerTest, APreemptedSequenceGoesBeforeLaterOnes) {
  Limits(128, 4, 4);
  Arrives(16);
  Arrives(16);
  Steps(17);
  Arrives(16);
  Step();
  ASSERT_EQ(plan_.preemptions, 1);
  Leaves(0);
  EXPECT_EQ(Step(), "1:33*");
}

TEST_F(SchedulerTest, PreemptsAsManyAsItTakesButNeverTheOldest) {
  Limits(256, 8, 8);
  for (int i = 0; i < 4; ++i) Arrives(15);
  for (int step = 0; step < 100; ++step) {
    Step();
    ASSERT_FALSE(plan_.chunks.empty());
    ASSERT_EQ(plan_.chunks.front().id, SequenceId{0});
  }
  EXPECT_EQ(scheduler_->running(), 1);
  EXPECT_EQ(scheduler_->waiting(), 3);
  EXPECT_EQ(scheduler_->used_blocks(), 8);
}

TEST_F(SchedulerTest, RemovingASequenceThatWaitsChangesNothingElse) {
  Limits(32, 1, 8);
  for (int i = 0; i < 3; ++i) Arrives(2);
  Step();
  Leaves(1);
  EXPECT_EQ(Step(), "0:1*");
  Leaves(0);
  EXPECT_EQ(Step(), "2:2*");
}

TEST_F(SchedulerTest, DescribesStepsAsStepInputWantsThem) {
  Limits(12, 4, 16);
  Arrives(2);
  Step();
  Arrives(20);
  EXPECT_EQ(Step(), "0:1* 1:11");
  EXPECT_THAT(Input().token_ids,
              ElementsAre(7, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110));
  EXPECT_THAT(Input().positions, ElementsAre(2, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
  EXPECT_THAT(Input().query_starts, ElementsAre(0, 1, 12));
  EXPECT_THAT(Input().kv_lengths, ElementsAre(3, 11));
  EXPECT_THAT(Input().seq_of_token, ElementsAre(0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1));
  EXPECT_THAT(Input().slots, ElementsAre(0, 1));
  EXPECT_EQ(TableEntries(), "1[0]=2") << "the second block is for tokens that come later";
  EXPECT_THAT(Rows().logit_rows, ElementsAre(0));

  EXPECT_EQ(Step(), "0:1* 1:9*");
  EXPECT_THAT(Input().positions, ElementsAre(3, 11, 12, 13, 14, 15, 16, 17, 18, 19));
  EXPECT_THAT(Input().kv_lengths, ElementsAre(4, 20));
  EXPECT_EQ(TableEntries(), "1[1]=3");
  EXPECT_THAT(Rows().logit_rows, ElementsAre(0, 9));
  EXPECT_EQ(Rows().sampling[0].position, 4);
  EXPECT_EQ(Rows().sampling[1].position, 20);
  EXPECT_EQ(Rows().sampling[1].seed, 5u);
  EXPECT_THAT(Rows().logit_slots, ElementsAre(0, 1));

  EXPECT_EQ(Step(), "0:1* 1:1*");
  EXPECT_EQ(TableEntries(), "");
}

TEST_F(SchedulerTest, ASlotHasATableOfItsOwnForEachSequenceThatGetsIt) {
  Limits(32, 1, 16);
  Arrives(17);
  Arrives(2);
  EXPECT_EQ(Step(), "0:17*");
  EXPECT_EQ(TableEntries(), "0[0]=1 0[1]=2");
  Leaves(0);
  EXPECT_EQ(Step(), "1:2*");
  EXPECT_THAT(Input().slots, ElementsAre(0));
  EXPECT_EQ(TableEntries(), "0[0]=1");
}

TEST(SchedulerLimitsTest, ASequenceFitsIfArenaAndBlockTableHoldIt) {
  const StepLimits small_arena = {.max_blocks_per_seq = 8, .kv_blocks = 2};
  EXPECT_TRUE(Scheduler::CanEverFit(small_arena, 32));
  EXPECT_FALSE(Scheduler::CanEverFit(small_arena, 33));
  const StepLimits small_table = {.max_blocks_per_seq = 1, .kv_blocks = 8};
  EXPECT_TRUE(Scheduler::CanEverFit(small_table, 16));
  EXPECT_FALSE(Scheduler::CanEverFit(small_table, 17));
}

TEST(SchedulerLimitsTest, DiesIfDecodesAloneCouldFillAStep) {
  const StepLimits limits = {.max_step_tokens = 3, .max_seqs = 4, .kv_blocks = 1};
  EXPECT_DEATH(Scheduler{limits}, "3 tokens for 4 sequences");
}

TEST_F(SchedulerTest, ScoresWhatFollowsEachTokenOfAPromptButTheLast) {
  Limits(8, 4, 16);
  Arrives(12, /*score=*/true);
  EXPECT_EQ(Step(), "0:8");
  EXPECT_THAT(Rows().score_rows, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_THAT(Rows().score_targets, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_EQ(Step(), "0:3");
  EXPECT_EQ(plan_.chunks[0].num_scores, 3);
  EXPECT_THAT(Rows().score_rows, ElementsAre(0, 1, 2));
  EXPECT_THAT(Rows().score_targets, ElementsAre(9, 10, 11));
  EXPECT_TRUE(Rows().logit_rows.empty());
}

TEST_F(SchedulerTest, ScoreRowsLieBehindTheDecodesOfTheStep) {
  Limits(8, 4, 16);
  Arrives(2);
  Step();
  Arrives(4, /*score=*/true);
  EXPECT_EQ(Step(), "0:1* 1:3");
  EXPECT_THAT(Rows().score_rows, ElementsAre(1, 2, 3));
  EXPECT_THAT(Rows().score_targets, ElementsAre(101, 102, 103));
}

TEST_F(SchedulerTest, SequenceThatOutgrowsItsRopeListIsComputedAnewWithTheOther) {
  Limits(12, 4, 16);
  Arrives(15, /*score=*/false, {.list = kShortRopeList, .switch_above_tokens = 16});
  Arrives(3);
  Leaves(1);
  EXPECT_EQ(Step(), "0:12");
  EXPECT_EQ(Step(), "0:3*");  // 16 tokens
  EXPECT_EQ(scheduler_->used_blocks(), 1);
  EXPECT_EQ(Step(), "0:1*");  // 17 tokens: one beyond the border
  EXPECT_THAT(Input().rope_lists, ElementsAre(kShortRopeList));
  Arrives(2);
  EXPECT_EQ(Step(), "0:12");
  EXPECT_THAT(Input().rope_lists, ElementsAre(kLongRopeList));
  EXPECT_THAT(Input().positions, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11));
  EXPECT_EQ(scheduler_->used_blocks(), 2);
  EXPECT_EQ(Step(), "0:5* 2:2*");
  EXPECT_THAT(Input().rope_lists, ElementsAre(kLongRopeList, kShortRopeList));
  EXPECT_EQ(Step(), "0:1* 2:1*");
  EXPECT_THAT(Input().rope_lists, ElementsAre(kLongRopeList, kShortRopeList));
}

TEST_F(SchedulerTest, SequenceThatSwitchesListsMayNeedRoomForABlock) {
  Limits(32, 4, 3);
  Arrives(16, /*score=*/false, {.list = kShortRopeList, .switch_above_tokens = 16});
  Arrives(15);
  EXPECT_EQ(Step(), "0:16* 1:15*");
  // The third block goes to the elder's seventeenth token.
  EXPECT_EQ(Step(), "1:1* 0:17*");
  EXPECT_EQ(scheduler_->used_blocks(), 3);
  // The younger one's seventeenth token finds none.
  EXPECT_EQ(Step(), "0:1*");
  EXPECT_EQ(plan_.preemptions, 1);
}

}  // namespace
}  // namespace phalanx
