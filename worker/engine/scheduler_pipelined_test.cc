// Steps that are planned before the results of earlier ones are known.
#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/engine/scheduler.h"
#include "worker/engine/testing/scheduler_fixture.h"

namespace phalanx {
namespace {

using ::testing::ElementsAre;

// Plans ahead of results: steps in flight are resolved when the test says so.
class PipelinedSchedulerTest : public SchedulerTest {
 protected:
  std::string Plan() {
    StepPlan plan = scheduler_->Plan(absl::UnixEpoch());
    const std::string told = Told(plan);
    if (!plan.chunks.empty()) in_flight_.push_back(std::move(plan));
    return told;
  }

  // Arrives a sequence with a penalty.
  void ArrivesWithRules(int prompt_tokens) {
    std::vector<int32_t> prompt(prompt_tokens, 1);
    const Sampling sampling = {.presence_penalty = 1.0f};
    scheduler_->Add(SequenceId{next_id_++},
                    {.prompt_token_ids = prompt,
                     .sampling = sampling,
                     .rope = {},
                     .rules = TokenRules::Create(sampling, {}, {}, prompt)});
  }

  void Resolve(int32_t token = 7) {
    const size_t draws = in_flight_.front().step.sampling.counts().num_logit_rows;
    scheduler_->Resolve(in_flight_.front(), std::vector<int32_t>(draws, token));
    in_flight_.pop_front();
  }

  absl::Span<const int32_t> LastTokenIds() const {
    return std::as_const(in_flight_.back().step.forward).arrays().token_ids;
  }

  std::deque<StepPlan> in_flight_;
};

TEST_F(PipelinedSchedulerTest, ATokenInFlightIsNamedByItsSlot) {
  Limits(32, 4, 16);
  Arrives(3);
  EXPECT_EQ(Plan(), "0:3*");
  EXPECT_EQ(Plan(), "0:1*");
  EXPECT_THAT(LastTokenIds(), ElementsAre(kernels::kLastToken));
  Resolve(70);
  Resolve(71);
  EXPECT_EQ(Plan(), "0:1*");
  EXPECT_THAT(LastTokenIds(), ElementsAre(71));
}

TEST_F(PipelinedSchedulerTest, RulesThatDependOnATokenInFlightAreWrittenWhenItIsKnown) {
  Limits(32, 4, 16);
  ArrivesWithRules(3);
  EXPECT_EQ(Plan(), "0:3*");
  EXPECT_FALSE(in_flight_.back().sampling_follows);
  EXPECT_EQ(Plan(), "0:1*");
  EXPECT_THAT(LastTokenIds(), ElementsAre(kernels::kLastToken));
  ASSERT_TRUE(in_flight_.back().sampling_follows);
  Resolve(70);
  scheduler_->WriteSampling(in_flight_.front());
  EXPECT_FALSE(in_flight_.front().sampling_follows);
  const SamplingBlock::ConstArrays rows = std::as_const(in_flight_.front().step.sampling).arrays();
  ASSERT_EQ(rows.edits.size(), 1u);
  EXPECT_EQ(rows.edits[0].token, 70);
  EXPECT_THAT(rows.logit_rows, ElementsAre(0));
  Resolve(71);
}

TEST_F(PipelinedSchedulerTest, ASequenceThatIsRemovedBetweenThePartsHasNoRow) {
  Limits(32, 4, 16);
  ArrivesWithRules(3);
  Arrives(5);
  EXPECT_EQ(Plan(), "0:3* 1:5*");
  EXPECT_EQ(Plan(), "0:1* 1:1*");
  Resolve();
  Leaves(0);
  scheduler_->WriteSampling(in_flight_.front());
  EXPECT_EQ(Told(in_flight_.front()), "0:1 1:1*");
  EXPECT_THAT(std::as_const(in_flight_.front().step.sampling).arrays().logit_rows, ElementsAre(1));
  Resolve();
  EXPECT_EQ(Plan(), "1:1*");
}

TEST_F(PipelinedSchedulerTest, ASequenceIsNotPlannedBeyondItsLastToken) {
  Limits(32, 4, 16);
  Arrives(3, /*score=*/false, /*rope=*/{}, /*max_new_tokens=*/2);
  EXPECT_EQ(Plan(), "0:3*");
  EXPECT_EQ(Plan(), "0:1*");
  EXPECT_EQ(Plan(), "");
  Resolve();
  EXPECT_EQ(Plan(), "");
  Resolve();
  Leaves(0);
  EXPECT_TRUE(scheduler_->empty());
}

TEST_F(PipelinedSchedulerTest, AScoredPromptIsPlannedOnce) {
  Limits(32, 4, 16);
  Arrives(5, /*score=*/true);
  EXPECT_EQ(Plan(), "0:4");
  EXPECT_EQ(Plan(), "");
}

TEST_F(PipelinedSchedulerTest, BlocksOfARemovedSequenceStayUntilItsStepIsResolved) {
  Limits(64, 4, 3);
  Arrives(33);
  EXPECT_EQ(Plan(), "0:33*");
  Leaves(0);
  Arrives(1);
  EXPECT_EQ(scheduler_->used_blocks(), 3);
  EXPECT_EQ(Plan(), "") << "all blocks are read by the step in flight";
  Resolve();
  EXPECT_EQ(scheduler_->used_blocks(), 0);
  EXPECT_EQ(Plan(), "1:1*");
}

TEST_F(PipelinedSchedulerTest, NoneIsPreemptedForBlocksThatAreAboutToBeFree) {
  Limits(64, 4, 5);
  Arrives(15);
  Arrives(16);
  Arrives(16);
  EXPECT_EQ(Plan(), "0:15* 1:16* 2:16*");
  EXPECT_EQ(Plan(), "0:1* 1:1* 2:1*");
  EXPECT_EQ(scheduler_->used_blocks(), 5);
  Resolve();
  Leaves(2);
  EXPECT_EQ(Plan(), "1:1*") << "sequence 0 needs a second block and waits for one of 2";
  EXPECT_EQ(scheduler_->waiting(), 0);
  Resolve();
  EXPECT_EQ(Plan(), "0:1* 1:1*");
}

TEST_F(PipelinedSchedulerTest, APreemptedSequenceWaitsUntilAllItsTokensAreKnown) {
  Limits(64, 4, 4);
  Arrives(16);
  Arrives(16);
  EXPECT_EQ(Plan(), "0:16* 1:16*");
  for (int i = 0; i < 16; ++i) {
    EXPECT_EQ(Plan(), "0:1* 1:1*");
    Resolve();
  }
  EXPECT_EQ(Plan(), "") << "the third block of 0 is one that 1 still uses in a step in flight";
  EXPECT_EQ(scheduler_->waiting(), 1);
  Resolve();
  EXPECT_EQ(Plan(), "0:1*");
  Leaves(0);
  Resolve();
  EXPECT_EQ(Plan(), "1:33*");
  EXPECT_THAT(LastTokenIds().last(2), ElementsAre(7, 7));
}

TEST_F(PipelinedSchedulerTest, ASequenceThatOutgrowsItsRopeListWaitsUntilAllItsTokensAreKnown) {
  Limits(64, 4, 4);
  Arrives(16, /*score=*/false, {.list = kShortRopeList, .switch_above_tokens = 16});
  EXPECT_EQ(Plan(), "0:16*");
  EXPECT_EQ(scheduler_->used_blocks(), 1) << "the step in flight has it";
  EXPECT_EQ(Plan(), "");
  Resolve(9);
  EXPECT_EQ(scheduler_->used_blocks(), 0);
  EXPECT_EQ(Plan(), "0:17*");
  EXPECT_EQ(LastTokenIds().back(), 9);
  EXPECT_EQ(Plan(), "0:1*");
  EXPECT_EQ(LastTokenIds().back(), kernels::kLastToken);
}

TEST_F(PipelinedSchedulerTest, NewcomersLeaveRoomForASequenceThatOutgrewItsRopeList) {
  Limits(64, 4, 5);
  Arrives(32, /*score=*/false, {.list = kShortRopeList, .switch_above_tokens = 32});
  EXPECT_EQ(Plan(), "0:32*");
  Arrives(1);
  EXPECT_EQ(Plan(), "") << "of the three blocks that are left, 0 needs all to begin again";
  Resolve();
  EXPECT_EQ(Plan(), "0:33* 1:1*");
}

}  // namespace
}  // namespace phalanx
