// What the scheduler does with drafts. The fixture draws 7 for every row, so "7 7 7" is a text that
// is guessed right.
#include <deque>
#include <map>
#include <memory>
#include <numeric>
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

class SchedulerDraftsTest : public SchedulerTest {
 protected:
  // Plans a step whose rows draw `tokens`.
  std::string StepDraws(std::vector<int32_t> tokens) {
    plan_ = scheduler_->Plan(now_);
    if (plan_.sampling_follows) scheduler_->WriteSampling(plan_);
    scheduler_->Resolve(plan_, tokens);
    return Told(plan_);
  }

  // Arrives a sequence that counts its answer's tokens, and the prompt 7 8 7 8 7 8. `seen` are told
  // to the rules as the prompt.
  void ArrivesWithRules(std::unique_ptr<TokenForcer> forcer,
                        Sampling sampling = {.presence_penalty = 1.0f},
                        std::vector<int32_t> seen = {},
                        std::unique_ptr<TokenFilter> filter = nullptr) {
    scheduler_->Add(
        SequenceId{next_id_++},
        {.prompt_token_ids = {7, 8, 7, 8, 7, 8},
         .max_new_tokens = 100,
         .sampling = sampling,
         .rope = {},
         .rules = TokenRules::Create(sampling, {}, {}, seen, std::move(filter), std::move(forcer)),
         .max_draft_tokens = 8});
  }

  // Of a row of the last step: how often it counts which tokens.
  std::map<int, int> EditsOf(int row) const {
    std::map<int, int> counts;
    const kernels::SamplingRow& sampling = Rows().sampling[row];
    for (int i = sampling.edits_begin; i < sampling.edits_end; ++i) {
      counts[Rows().edits[i].token] = Rows().edits[i].count;
    }
    return counts;
  }

  int Known(uint64_t id) const { return scheduler_->ProgressOf(SequenceId{id}).known_tokens; }
  int Blocks(uint64_t id) const { return scheduler_->ProgressOf(SequenceId{id}).blocks; }

  // A step that stays in flight.
  std::string PlanAhead() {
    StepPlan plan = scheduler_->Plan(now_);
    const std::string told = Told(plan);
    if (!plan.chunks.empty()) in_flight_.push_back(std::move(plan));
    return told;
  }
  void ResolveOldest(int32_t token = 7) {
    const size_t draws = in_flight_.front().step.sampling.counts().num_logit_rows;
    scheduler_->Resolve(in_flight_.front(), std::vector<int32_t>(draws, token));
    in_flight_.pop_front();
  }

  std::deque<StepPlan> in_flight_;
};

TEST_F(SchedulerDraftsTest, ARightDraftGivesATokenForEachOfItsOwnAndOneMore) {
  Limits(32, 16, 16);
  ArrivesGuessed(4, {7, 7, 7});
  EXPECT_EQ(Step(), "0:4*") << "a prompt has no draft";
  EXPECT_EQ(Step(), "0:3*3");
  EXPECT_THAT(Input().token_ids, ElementsAre(7, 7, 7));
  EXPECT_THAT(Input().positions, ElementsAre(4, 5, 6));
  EXPECT_THAT(Input().kv_lengths, ElementsAre(7));
  EXPECT_THAT(Rows().logit_rows, ElementsAre(0, 1, 2));
  EXPECT_THAT(Rows().logit_slots, ElementsAre(0, 0, 0));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Rows().sampling[i].position, 5 + i);
    EXPECT_EQ(Rows().sampling[i].seed, 5u);
  }
  EXPECT_EQ(plan_.chunks[0].num_accepted, 2);
  EXPECT_EQ(plan_.chunks[0].draw_position, 5);
  EXPECT_EQ(Known(0), 8);
  EXPECT_EQ(Step(), "0:5*5");
  EXPECT_THAT(Input().positions, ElementsAre(7, 8, 9, 10, 11));
  EXPECT_EQ(Step(), "0:9*9");
  EXPECT_EQ(Step(), "0:9*9") << "at most eight";
}

TEST_F(SchedulerDraftsTest, WhatFollowsAWrongGuessIsDropped) {
  Limits(32, 16, 16);
  ArrivesGuessed(8, {7, 7, 7});
  Step();
  EXPECT_EQ(Step(), "0:3*3");
  EXPECT_EQ(StepDraws({7, 8, 7, 7, 7}), "0:5*5");
  EXPECT_EQ(plan_.chunks[0].num_accepted, 1);
  EXPECT_EQ(Known(0), 14);
  const Scheduler::Progress progress = scheduler_->ProgressOf(SequenceId{0});
  EXPECT_EQ(progress.computed_tokens, 13);
  EXPECT_TRUE(progress.decodes);
  // "7 8" has not been there, so there is nothing to guess. It goes on with 8.
  EXPECT_EQ(Step(), "0:1*");
  EXPECT_THAT(Input().token_ids, ElementsAre(8));
  EXPECT_THAT(Input().positions, ElementsAre(13));
  scheduler_->CheckReferences();
}

TEST_F(SchedulerDraftsTest, BlocksOfDroppedTokensAreFreeAtOnceAndToldAgain) {
  Limits(32, 16, 16);
  ArrivesGuessed(14, {7, 7, 7});
  Step();
  EXPECT_EQ(Blocks(0), 1);
  EXPECT_EQ(StepDraws({8, 7, 7}), "0:3*3");
  EXPECT_EQ(TableEntries(), "0[1]=2") << "the draft has a block of its own";
  EXPECT_EQ(Blocks(0), 1);
  EXPECT_EQ(scheduler_->used_blocks(), 1);
  scheduler_->CheckReferences();
  EXPECT_EQ(Step(), "0:1*");
  EXPECT_EQ(TableEntries(), "");
  EXPECT_EQ(Step(), "0:1*");
  EXPECT_EQ(TableEntries(), "0[1]=2");
}

TEST_F(SchedulerDraftsTest, DraftsHaveTheRowsThatOthersLeave) {
  Limits(32, 4, 16);
  ArrivesGuessed(4, {7, 7, 7});
  Arrives(4);
  Arrives(4);
  Step();
  EXPECT_EQ(Step(), "0:2*2 1:1* 2:1*") << "one row is left";
  Arrives(4);
  EXPECT_EQ(Step(), "0:1* 1:1* 2:1* 3:4*");
  EXPECT_EQ(Step(), "0:1* 1:1* 2:1* 3:1*");
  Leaves(1);
  EXPECT_EQ(Step(), "0:2*2 2:1* 3:1*");
}

TEST_F(SchedulerDraftsTest, DraftsHaveTheTokensThatPromptsLeave) {
  Limits(16, 16, 32);
  ArrivesGuessed(4, {7, 7, 7});
  Step();
  Arrives(29);
  EXPECT_EQ(Step(), "0:1* 1:15");
  EXPECT_EQ(Step(), "0:2*2 1:14*") << "one token is left";
  EXPECT_EQ(Step(), "0:5*5 1:1*");
}

TEST_F(SchedulerDraftsTest, DraftsShareWhatIsLeft) {
  Limits(32, 8, 16);
  ArrivesGuessed(4, {7, 7, 7});
  ArrivesGuessed(4, {7, 7, 7});
  Step();
  EXPECT_EQ(Step(), "0:3*3 1:3*3");
  // Drafts may have four tokens now, and six rows are left for both.
  EXPECT_EQ(Step(), "0:4*4 1:4*4");
}

TEST_F(SchedulerDraftsTest, DraftsHaveBlocksThatNobodyNeeds) {
  Limits(64, 16, 4);
  ArrivesGuessed(14, {7, 7, 7});
  Arrives(20);
  Step();
  // One block is left, and both sequences may grow into it.
  EXPECT_EQ(scheduler_->used_blocks(), 3);
  EXPECT_EQ(Step(), "0:2*2 1:1*") << "as far as its own block goes";
  EXPECT_EQ(scheduler_->used_blocks(), 3);
  EXPECT_EQ(Step(), "0:5*5 1:1*") << "it has grown into the one that is left";
  EXPECT_EQ(scheduler_->used_blocks(), 4);
  EXPECT_EQ(Step(), "0:9*9 1:1*");
  EXPECT_EQ(Step(), "0:2*2 1:1*") << "its second block is full";
  EXPECT_EQ(plan_.preemptions, 0);
  EXPECT_TRUE(scheduler_->ProgressOf(SequenceId{1}).running);
}

TEST_F(SchedulerDraftsTest, NoMoreIsDrawnThanWasAskedFor) {
  Limits(32, 16, 16);
  ArrivesGuessed(4, {7, 7, 7}, /*max_draft_tokens=*/8, /*max_new_tokens=*/5);
  Step();
  EXPECT_EQ(Step(), "0:3*3");
  EXPECT_EQ(Step(), "0:1*");
  EXPECT_EQ(Known(0), 9);
  Leaves(0);
}

TEST_F(SchedulerDraftsTest, ADraftDoesNotCrossTheBorderOfARotaryList) {
  Limits(32, 16, 16);
  ArrivesGuessed(4, {7, 7, 7}, /*max_draft_tokens=*/8, /*max_new_tokens=*/100,
                 {.list = 0, .switch_above_tokens = 10});
  Step();
  EXPECT_EQ(Step(), "0:3*3");
  EXPECT_EQ(Known(0), 8);
  EXPECT_EQ(Step(), "0:2*2");
  EXPECT_EQ(Known(0), 10);
  EXPECT_EQ(Step(), "0:1*");
  EXPECT_EQ(Step(), "0:11*") << "all is computed anew";
  EXPECT_EQ(Input().rope_lists[0], 1);
  EXPECT_EQ(Step(), "0:9*9") << "and goes on being guessed";
}

TEST_F(SchedulerDraftsTest, EachDrawHasTheEditsOfTheTokensBeforeIt) {
  Limits(32, 16, 16);
  ArrivesWithRules(nullptr);
  EXPECT_EQ(Step(), "0:6*");
  EXPECT_EQ(Rows().edits.size(), 0u);
  // It guesses 8, 7 after the 7 that was drawn.
  EXPECT_EQ(StepDraws({8, 7, 9}), "0:3*3");
  EXPECT_EQ(EditsOf(0), (std::map<int, int>{{7, 1}}));
  EXPECT_EQ(EditsOf(1), (std::map<int, int>{{7, 1}, {8, 1}}));
  EXPECT_EQ(EditsOf(2), (std::map<int, int>{{7, 2}, {8, 1}}));
  EXPECT_EQ(Step(), "0:1*");
  EXPECT_EQ(EditsOf(0), (std::map<int, int>{{7, 2}, {8, 1}, {9, 1}})) << "all three were taken";
}

TEST_F(SchedulerDraftsTest, ADraftHasNoMoreEditsThanFitIntoAStep) {
  Limits(32, 16, 16);
  Sampling sampling;
  sampling.repetition_penalty = 1.5f;
  std::vector<int32_t> tokens(kMaxStepEdits / 2 - 2);
  std::iota(tokens.begin(), tokens.end(), 1000);
  ArrivesWithRules(nullptr, sampling, tokens);
  Step();
  EXPECT_EQ(Step(), "0:2*2");
  EXPECT_LE(Rows().edits.size(), static_cast<size_t>(kMaxStepEdits));
}

// Forces 9 as the third token of the answer.
class ThirdIsNine final : public TokenForcer {
 public:
  int32_t next() const override { return tokens_ == 2 ? 9 : kernels::kNotForced; }
  void Accept(int32_t token) override { ++tokens_; }
  std::unique_ptr<TokenForcer> Copy() const override {
    return std::make_unique<ThirdIsNine>(*this);
  }

 private:
  int tokens_ = 0;
};

TEST_F(SchedulerDraftsTest, AGuessEndsWhereAnotherTokenIsForced) {
  Limits(32, 16, 16);
  ArrivesWithRules(std::make_unique<ThirdIsNine>());
  EXPECT_EQ(Step(), "0:6*");
  // It guesses 8, 7 after the 7 that was drawn, and the 7 is not to be.
  EXPECT_EQ(StepDraws({8, 9}), "0:2*2");
  EXPECT_EQ(Rows().sampling[0].forced, kernels::kNotForced);
  EXPECT_EQ(Rows().sampling[1].forced, 9);
  EXPECT_EQ(Known(0), 9);
}

// Allows 7 and 8, but only so many 8 if `most` is not below 0. It can make no mask behind so many
// tokens.
class SevenAndEight final : public TokenFilter {
 public:
  explicit SevenAndEight(int most, int masks = 1000) : most_(most), masks_(masks) {}
  int mask_words() const override { return 1; }
  void WriteMask(absl::Span<uint32_t> words) override {
    if (tokens_ >= masks_) status_ = absl::InvalidArgumentError("too much");
    words[0] = !status_.ok() ? 0 : most_ == 0 ? 1u << 7 : 3u << 7;
  }
  void Accept(int32_t token) override {
    ++tokens_;
    if (token == 8 && most_-- == 0) status_ = absl::InvalidArgumentError("too many");
  }
  absl::Status status() const override { return status_; }
  std::unique_ptr<TokenFilter> Copy() const override {
    return std::make_unique<SevenAndEight>(*this);
  }

 private:
  int most_;
  int masks_;
  int tokens_ = 0;
  absl::Status status_;
};

TEST_F(SchedulerDraftsTest, EachDrawHasTheMaskOfTheTokensBeforeIt) {
  Limits(32, 16, 16);
  ArrivesWithRules(nullptr, {}, {}, std::make_unique<SevenAndEight>(1));
  EXPECT_EQ(Step(), "0:6*");
  EXPECT_EQ(StepDraws({8, 7, 7}), "0:3*3");
  EXPECT_THAT(Rows().mask_words, ElementsAre(3u << 7, 1u << 7, 1u << 7));
  for (int row = 0; row < 3; ++row) EXPECT_EQ(Rows().sampling[row].mask_begin, row);
}

TEST_F(SchedulerDraftsTest, AGuessEndsWhereTheNextTokenIsForbidden) {
  Limits(32, 16, 16);
  ArrivesWithRules(nullptr, {}, {}, std::make_unique<SevenAndEight>(0));
  EXPECT_EQ(Step(), "0:6*");
  EXPECT_EQ(Step(), "0:1*") << "the guess begins with 8";
}

// The mask behind the first token of the guess is not made for the guess's sake.
TEST_F(SchedulerDraftsTest, WhereAMaskCannotBeMadeNothingIsDrawn) {
  Limits(32, 16, 16);
  ArrivesWithRules(nullptr, {}, {}, std::make_unique<SevenAndEight>(5, /*masks=*/2));
  EXPECT_EQ(Step(), "0:6*");
  EXPECT_EQ(StepDraws({8}), "0:3*1") << "two are guessed, and one token is drawn";
  EXPECT_THAT(Rows().logit_rows, ElementsAre(0));
  EXPECT_EQ(Known(0), 8);
  EXPECT_EQ(plan_.chunks[0].num_accepted, 0);
  // Its own mask fails now, and it is not the scheduler that ends it.
  Step();
  EXPECT_EQ(Rows().mask_words[0], 0u);
}

TEST_F(SchedulerDraftsTest, ALongPromptIsTakenNoteOfInParts) {
  scheduler_ = std::make_unique<Scheduler>(StepLimits{
      .max_step_tokens = 8192, .max_seqs = 16, .max_blocks_per_seq = 1024, .kv_blocks = 1024});
  ArrivesGuessed(5000, {7, 7, 7});
  EXPECT_EQ(Step(), "0:5000*");
  EXPECT_EQ(Step(), "0:1*");
  EXPECT_EQ(Step(), "0:1*");
  EXPECT_EQ(Step(), "0:3*3") << "2048 tokens in each plan in which it runs";
}

// Others must find the answer's blocks, and none of what was dropped.
TEST_F(SchedulerDraftsTest, OnlyWhatWasAcceptedCanBeFound) {
  Limits(64, 16, 32, /*prefix_cache=*/true);
  std::vector<int32_t> text(27, 7);
  const auto arrives = [&](std::vector<int32_t> prompt, int max_draft_tokens) {
    scheduler_->Add(SequenceId{next_id_++}, {.prompt_token_ids = std::move(prompt),
                                             .max_new_tokens = 100,
                                             .sampling = {},
                                             .rope = {},
                                             .max_draft_tokens = max_draft_tokens});
  };
  arrives(text, 8);
  Step();
  Step();
  // The draft fills the second block, and its last token is wrong.
  EXPECT_EQ(Known(0), 31);
  EXPECT_EQ(StepDraws({8, 7, 7, 7, 7}), "0:5*5");
  EXPECT_EQ(Known(0), 32);
  Leaves(0);
  std::vector<int32_t> dropped(40, 7);
  arrives(dropped, 0);
  Step();
  EXPECT_EQ(plan_.chunks[0].cached_tokens, 16) << "the second block ends with 8";
  Leaves(1);
  scheduler_->CheckReferences();
  EXPECT_EQ(scheduler_->used_blocks(), 0);
}

TEST_F(SchedulerDraftsTest, ASequenceWithADraftIsNotPlannedAhead) {
  Limits(32, 16, 16);
  ArrivesGuessed(4, {7, 7, 7});
  Arrives(4);
  EXPECT_EQ(PlanAhead(), "0:4* 1:4*");
  EXPECT_EQ(PlanAhead(), "1:1*") << "its next token is waited for";
  ResolveOldest();
  EXPECT_EQ(PlanAhead(), "0:3*3 1:1*");
  ResolveOldest();
  EXPECT_EQ(PlanAhead(), "1:1*");
  ResolveOldest();
  EXPECT_EQ(Known(0), 8);
  EXPECT_EQ(PlanAhead(), "0:5*5 1:1*");
}

TEST_F(SchedulerDraftsTest, ASequenceWithoutADraftIsPlannedAhead) {
  Limits(32, 16, 16);
  ArrivesGuessed(4, {});
  EXPECT_EQ(PlanAhead(), "0:4*");
  EXPECT_EQ(PlanAhead(), "0:1*");
  ResolveOldest(30);
  EXPECT_EQ(PlanAhead(), "0:1*");
}

TEST_F(SchedulerDraftsTest, ASequenceMayLoseItsBlocksWhileItsDraftIsInFlight) {
  Limits(64, 16, 3);
  Arrives(15);
  ArrivesGuessed(4, {7, 7, 7});
  EXPECT_EQ(PlanAhead(), "0:15* 1:4*");
  ResolveOldest();
  EXPECT_EQ(PlanAhead(), "0:1* 1:3*3");
  const int64_t before = scheduler_->waiting_tokens();
  Arrives(2);
  EXPECT_EQ(before, 0);
  // The first sequence outgrows its block and takes the one that is left; then it takes the
  // other's.
  for (int i = 0; i < 40 && scheduler_->ProgressOf(SequenceId{1}).running; ++i) {
    PlanAhead();
    if (in_flight_.size() == 2) ResolveOldest();
  }
  EXPECT_FALSE(scheduler_->ProgressOf(SequenceId{1}).running);
  while (!in_flight_.empty()) ResolveOldest(9);
  EXPECT_EQ(scheduler_->waiting_tokens(), Known(1) + 2);
  scheduler_->CheckReferences();
}

}  // namespace
}  // namespace phalanx
