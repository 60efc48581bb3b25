// What sequences take from the prefix cache and leave there.
#include <cstdint>
#include <numeric>
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

constexpr RopePlan kShort = {.list = kShortRopeList};
constexpr RopePlan kLong = {.list = kLongRopeList};

class PrefixCacheTest : public SchedulerTest {
 protected:
  void Limits(int step_tokens, int seqs, int blocks) {
    SchedulerTest::Limits(step_tokens, seqs, blocks, /*prefix_cache=*/true);
  }

  // Arrives a sequence whose prompt begins like that of every other one of the same `text`.
  uint64_t Asks(int prompt_tokens, int text = 0, const std::string& salt = "", RopePlan rope = {}) {
    std::vector<int32_t> prompt(prompt_tokens);
    std::iota(prompt.begin(), prompt.end(), 1000 * text);
    return Asks(std::move(prompt), salt, rope);
  }

  uint64_t Asks(std::vector<int32_t> prompt, const std::string& salt = "", RopePlan rope = {}) {
    scheduler_->Add(SequenceId{next_id_}, {.prompt_token_ids = std::move(prompt),
                                           .max_new_tokens = 1000,
                                           .sampling = {},
                                           .seed = 5,
                                           .rope = rope,
                                           .score = false,
                                           .cache_salt = salt});
    return next_id_++;
  }

  uint64_t AsksAs(const std::string& tenant, int priority, int prompt_tokens) {
    std::vector<int32_t> prompt(prompt_tokens);
    std::iota(prompt.begin(), prompt.end(), 0);
    scheduler_->Add(SequenceId{next_id_}, {.prompt_token_ids = std::move(prompt),
                                           .max_new_tokens = 1000,
                                           .sampling = {},
                                           .rope = {},
                                           .priority = priority,
                                           .tenant = tenant});
    return next_id_++;
  }

  // A sequence of that text has come and gone.
  void Was(int prompt_tokens, int text = 0, const std::string& salt = "", RopePlan rope = {}) {
    const uint64_t id = Asks(prompt_tokens, text, salt, rope);
    Step();
    Leaves(id);
  }
};

TEST_F(PrefixCacheTest, APromptIsComputedFromWhereItDiffersFromAnEarlierOne) {
  Limits(64, 4, 16);
  Was(40);
  EXPECT_EQ(scheduler_->used_blocks(), 0);
  EXPECT_EQ(scheduler_->cached_blocks(), 2) << "the last block was not full";
  Asks(50);
  EXPECT_EQ(Step(), "1:18*");
  EXPECT_EQ(plan_.chunks[0].cached_tokens, 32);
  EXPECT_EQ(Input().positions.front(), 32);
  EXPECT_EQ(TableEntries(), "0[0]=1 0[1]=2 0[2]=3 0[3]=4");
  EXPECT_EQ(scheduler_->used_blocks(), 4);
  EXPECT_EQ(scheduler_->cached_blocks(), 0);
}

TEST_F(PrefixCacheTest, OnlyTheFirstChunkTellsWhatWasCached) {
  Limits(10, 4, 16);
  Asks(40);
  Steps(4);
  Leaves(0);
  Asks(60);
  EXPECT_EQ(Step(), "1:10");
  EXPECT_EQ(plan_.chunks[0].cached_tokens, 32);
  EXPECT_EQ(Step(), "1:10");
  EXPECT_EQ(plan_.chunks[0].cached_tokens, 0);
}

TEST_F(PrefixCacheTest, AtLeastOneTokenIsComputed) {
  Limits(64, 4, 16);
  Was(32);
  Asks(32);
  EXPECT_EQ(Step(), "1:16*") << "its last token is in the second block, which is computed anew";
}

TEST_F(PrefixCacheTest, SequencesThatRunAtOnceShareBlocks) {
  Limits(64, 4, 16);
  Asks(40);
  Step();
  Asks(40);
  EXPECT_EQ(Step(), "0:1* 1:8*");
  EXPECT_EQ(scheduler_->used_blocks(), 4) << "two shared, and one more for each";
  Leaves(0);
  EXPECT_EQ(scheduler_->used_blocks(), 3);
  EXPECT_EQ(Step(), "1:1*");
  Leaves(1);
  EXPECT_EQ(scheduler_->used_blocks(), 0);
}

TEST_F(PrefixCacheTest, WhatOneStepComputesIsThereForTheNextNotForItself) {
  Limits(100, 4, 16);
  Asks(40);
  Asks(40);
  EXPECT_EQ(Step(), "0:40*") << "1 waits for it";
  Asks(40);
  EXPECT_EQ(Step(), "0:1* 1:8* 2:8*");
  EXPECT_EQ(scheduler_->used_blocks(), 5);
}

TEST_F(PrefixCacheTest, APromptWaitsForTheBlocksThatAnotherOneIsAboutToCompute) {
  Limits(20, 8, 64);
  Asks(100);
  Asks(100);
  Asks(70);
  Asks(5, 3);
  EXPECT_EQ(Step(), "0:20");
  EXPECT_EQ(Step(), "0:20");
  EXPECT_EQ(Step(), "0:20");
  EXPECT_EQ(Step(), "0:20");
  EXPECT_EQ(Step(), "0:20*") << "the others would have been asked in their turn";
  EXPECT_EQ(Step(), "0:1* 1:4* 2:6* 3:5*");
  EXPECT_EQ(plan_.chunks[1].cached_tokens, 96);
  EXPECT_EQ(plan_.chunks[2].cached_tokens, 64);
}

TEST_F(PrefixCacheTest, ThoseBehindOneThatWaitsForBlocksGoOn) {
  Limits(64, 8, 64);
  Asks(40);
  Asks(40);
  Asks(10, 3);
  EXPECT_EQ(Step(), "0:40* 2:10*");
  EXPECT_EQ(Step(), "0:1* 2:1* 1:8*");
}

TEST_F(PrefixCacheTest, ItWaitsOnlyAsLongAsTheyBeginAlike) {
  Limits(32, 8, 64);
  std::vector<int32_t> first(200);
  std::iota(first.begin(), first.end(), 0);
  std::vector<int32_t> second = first;
  second[40] = 999;
  Asks(first);
  Asks(second);
  EXPECT_EQ(Step(), "0:32");
  EXPECT_EQ(Step(), "0:32") << "it has begun, and goes first";
  Leaves(0);
  EXPECT_EQ(Step(), "1:32");
  EXPECT_EQ(plan_.chunks[0].cached_tokens, 32);
}

TEST_F(PrefixCacheTest, WhoWaitsForBlocksGoesOnWhenTheOtherIsRemoved) {
  Limits(32, 8, 64);
  Asks(100);
  Asks(100);
  Asks(100);
  EXPECT_EQ(Step(), "0:32");
  Leaves(0);
  EXPECT_EQ(Step(), "1:32") << "and 2 waits for 1 now";
  EXPECT_EQ(plan_.chunks[0].cached_tokens, 32);
  EXPECT_EQ(Step(), "1:32");
  scheduler_->Remove(SequenceId{1}, /*sound=*/false);
  EXPECT_EQ(Step(), "2:32");
  EXPECT_EQ(plan_.chunks[0].cached_tokens, 0) << "what 1 had is forgotten, what 0 had was its too";
}

TEST_F(PrefixCacheTest, WhoWaitsForBlocksGoesOnWhenTheOtherIsPreempted) {
  Limits(3, 3, 8);
  Asks(16, 5);
  Steps(6);
  Asks(80);
  Asks(80);
  EXPECT_EQ(Step(), "0:1* 1:2");
  while (plan_.preemptions == 0) Step();
  EXPECT_EQ(Step(), "0:1*") << "there is no room for 1, and 2 does not pass it";
  Leaves(0);
  EXPECT_EQ(Step(), "1:3");
  EXPECT_EQ(scheduler_->running(), 1);
  while (scheduler_->running() < 2) Step();
  EXPECT_EQ(Told(plan_), "1:1* 2:2");
  EXPECT_EQ(plan_.chunks[1].cached_tokens, 64);
}

TEST_F(PrefixCacheTest, WhoWaitsForBlocksGoesOnWhenTheOtherChangesItsRotaryList) {
  Limits(32, 4, 64);
  const RopePlan outgrows = {.list = kShortRopeList, .switch_above_tokens = 64};
  Asks(64, 0, "", outgrows);
  Asks(100, 0, "", kShort);
  EXPECT_EQ(Step(), "0:32");
  EXPECT_EQ(Step(), "0:32*") << "its next token is beyond the border";
  EXPECT_EQ(Step(), "0:32") << "it begins again, with the other list, before any prompt";
  EXPECT_EQ(Step(), "0:32");
  EXPECT_EQ(Step(), "0:1* 1:31");
  EXPECT_EQ(plan_.chunks[1].cached_tokens, 64) << "what was computed with the first list";
}

TEST_F(PrefixCacheTest, NobodyWaitsForBlocksOfAnotherSaltListOrTenantOrOfOneThatRanksBehind) {
  Limits(200, 8, 64);
  Asks(40, 0, "salt");
  Asks(40, 0, "other");
  Asks(40, 0, "salt", kLong);
  EXPECT_EQ(Step(), "0:40* 1:40* 2:40*");
  for (int i = 0; i < 3; ++i) Leaves(i);
  Limits(32, 8, 64);
  AsksAs("a", 0, 60);
  AsksAs("b", 0, 60);
  AsksAs("a", 0, 60);
  EXPECT_EQ(Step(), "3:32");
  AsksAs("a", 1, 60);
  EXPECT_EQ(Step(), "6:28* 3:4")
      << "more urgent than the one that has begun, it shares what is there";
}

TEST_F(PrefixCacheTest, DrawnTokensAreCachedToo) {
  Limits(64, 4, 16);
  Asks(30);
  // 30 tokens are computed, then one more in each step; the token behind these is drawn.
  Steps(4);
  Leaves(0);
  EXPECT_EQ(scheduler_->cached_blocks(), 2);
  std::vector<int32_t> next_turn(30);
  std::iota(next_turn.begin(), next_turn.end(), 0);
  next_turn.resize(40, 7);
  Asks(next_turn);
  EXPECT_EQ(Step(), "1:8*");
}

TEST_F(PrefixCacheTest, SaltsKeepSequencesApart) {
  Limits(64, 4, 16);
  Was(40, 0, "a");
  Asks(40, 0, "b");
  EXPECT_EQ(Step(), "1:40*");
  Asks(40);
  EXPECT_EQ(Step(), "1:1* 2:40*");
  Asks(40, 0, "a");
  EXPECT_EQ(Step(), "1:1* 2:1* 3:8*");
}

TEST_F(PrefixCacheTest, RotaryListsKeepSequencesApart) {
  Limits(64, 4, 16);
  Was(40, 0, "", kLong);
  Asks(40, 0, "", kShort);
  EXPECT_EQ(Step(), "1:40*");
  Asks(40, 0, "", kLong);
  EXPECT_EQ(Step(), "1:1* 2:8*");
}

TEST_F(PrefixCacheTest, PromptsThatAreScoredNeitherTakeNorLeaveAnything) {
  Limits(64, 4, 16);
  Asks(40);
  Step();
  Leaves(0);
  next_id_ = 0;  // The same tokens.
  Arrives(40, /*score=*/true);
  EXPECT_EQ(Step(), "0:39");
  Leaves(0);
  EXPECT_EQ(scheduler_->cached_blocks(), 2);
  Limits(64, 4, 16);
  Arrives(40, /*score=*/true);
  Step();
  Leaves(1);
  EXPECT_EQ(scheduler_->cached_blocks(), 0);
}

TEST_F(PrefixCacheTest, NothingIsSharedWithoutIt) {
  SchedulerTest::Limits(64, 4, 16, /*prefix_cache=*/false);
  Was(40);
  EXPECT_EQ(scheduler_->cached_blocks(), 0);
  Asks(40);
  EXPECT_EQ(Step(), "1:40*");
}

TEST_F(PrefixCacheTest, CachedBlocksGiveWayFromTheEndOfThePrefixThatIsOldest) {
  Limits(64, 4, 6);
  Was(48, 1);
  Was(32, 2);
  EXPECT_EQ(scheduler_->cached_blocks(), 5);
  // One free block, then two of text 1.
  Was(40, 3);
  EXPECT_EQ(scheduler_->evictions(), 2);
  const uint64_t first = Asks(48, 1);
  EXPECT_EQ(Step(), "3:32*") << "its first block is still there";
  Leaves(first);
  const uint64_t second = Asks(33, 2);
  Step();
  EXPECT_EQ(plan_.chunks[0].cached_tokens, 16) << "text 1 took the end of text 2";
  Leaves(second);
}

TEST_F(PrefixCacheTest, UseMakesABlockYoungAgain) {
  Limits(64, 4, 5);
  Was(33, 1);
  Was(33, 2);
  Was(33, 1);
  Was(33, 3);
  Asks(33, 1);
  EXPECT_EQ(Step(), "4:1*");
}

TEST_F(PrefixCacheTest, CachedBlocksCountAsFreeForNewcomers) {
  Limits(128, 4, 4);
  Was(64, 1);
  EXPECT_EQ(scheduler_->cached_blocks(), 4);
  Asks(49, 2);
  EXPECT_EQ(Step(), "1:49*");
  EXPECT_EQ(scheduler_->evictions(), 4);
}

TEST_F(PrefixCacheTest, ANewcomerNeedsNoRoomForBlocksThatOthersUse) {
  Limits(128, 4, 6);
  Asks(64);
  EXPECT_EQ(Step(), "0:64*");
  Asks(64);
  EXPECT_EQ(Step(), "0:1*") << "one block of five is left, and sequence 0 may need it";
  Leaves(0);
  Limits(128, 4, 7);
  next_id_ = 0;
  Asks(64);
  Step();
  Asks(64);
  EXPECT_EQ(Step(), "0:1* 1:16*") << "three blocks are shared";
}

TEST_F(PrefixCacheTest, HitsThatNobodyUsesTakeRoom) {
  Limits(128, 4, 4);
  Was(48, 1);
  Asks(16, 2);
  Step();
  Asks(48, 1);
  EXPECT_EQ(Step(), "1:1*") << "its three blocks, two of them cached, are all but those of 1";
}

TEST_F(PrefixCacheTest, APreemptedSequenceFindsItsOwnBlocks) {
  Limits(128, 4, 4);
  Asks(16, 1);
  Asks(16, 2);
  Steps(18);
  ASSERT_EQ(plan_.preemptions, 1);
  EXPECT_EQ(scheduler_->cached_blocks(), 1) << "of two of sequence 1, 0 has got the second";
  Leaves(0);
  EXPECT_EQ(Step(), "1:17*");
  EXPECT_EQ(plan_.chunks[0].cached_tokens, 0) << "it tells of the prompt at first, and only then";
}

TEST_F(PrefixCacheTest, ASequenceThatOutgrowsItsRotaryListLeavesItsBlocksAsTheyAre) {
  Limits(64, 4, 8);
  const RopePlan outgrows = {.list = kShortRopeList, .switch_above_tokens = 36};
  Asks(35, 0, "", outgrows);
  Step();
  Asks(33, 0, "", kShort);
  EXPECT_EQ(Step(), "0:1* 1:1*") << "36 tokens, and 37 with the one that is drawn";
  EXPECT_EQ(Step(), "1:1* 0:37*");
  EXPECT_EQ(TableEntries(), "0[0]=3 0[1]=5 0[2]=6") << "none of 1, 2 and 4, which 1 reads";
  Leaves(1);
  Leaves(0);
  // Both lists are there now.
  Asks(36, 0, "", kLong);
  EXPECT_EQ(Step(), "2:4*");
  Asks(36, 0, "", kShort);
  EXPECT_EQ(Step(), "2:1* 3:4*");
}

TEST_F(PrefixCacheTest, WhatABrokenSequenceHoldsIsForgotten) {
  Limits(64, 4, 16);
  Asks(40);
  Step();
  Asks(40);
  Step();
  scheduler_->Remove(SequenceId{1}, /*sound=*/false);
  EXPECT_EQ(scheduler_->cached_blocks(), 0);
  Leaves(0);
  EXPECT_EQ(scheduler_->cached_blocks(), 0);
  Asks(40);
  EXPECT_EQ(Step(), "2:40*");
}

TEST_F(PrefixCacheTest, ABlockIsOfferedOnceItsTokensAreKnown) {
  Limits(64, 4, 16);
  Asks(15);
  StepPlan first = scheduler_->Plan(absl::UnixEpoch());
  StepPlan second = scheduler_->Plan(absl::UnixEpoch());
  ASSERT_EQ(Told(second), "0:1*") << "its sixteenth token is in flight";
  scheduler_->Resolve(first, {7});
  std::vector<int32_t> other(20, 7);
  std::iota(other.begin(), other.begin() + 15, 0);
  Asks(other);
  EXPECT_EQ(Told(scheduler_->Plan(absl::UnixEpoch())), "0:1* 1:20*")
      << "this plan offers it, for later ones";
  scheduler_->Resolve(second, {7});
  Asks(other);
  EXPECT_EQ(Told(scheduler_->Plan(absl::UnixEpoch())), "0:1* 1:1* 2:4*");
}

TEST_F(PrefixCacheTest, ABlockThatAStepInFlightWritesIsSharedByTheNextStep) {
  Limits(64, 4, 16);
  Asks(40);
  StepPlan first = scheduler_->Plan(absl::UnixEpoch());
  Asks(40);
  StepPlan second = scheduler_->Plan(absl::UnixEpoch());
  EXPECT_EQ(Told(second), "0:1* 1:8*");
  Leaves(0);
  EXPECT_EQ(scheduler_->used_blocks(), 4) << "steps in flight write to them";
  scheduler_->Resolve(first, {7});
  scheduler_->Resolve(second, {7, 7});
  EXPECT_EQ(scheduler_->used_blocks(), 3);
}

TEST_F(PrefixCacheTest, NothingIsKeptOfStepsWhoseResultsDoNotCome) {
  Limits(64, 4, 16);
  Asks(40);
  scheduler_->Plan(absl::UnixEpoch());
  Leaves(0);
  scheduler_->DropInFlight();
  EXPECT_EQ(scheduler_->used_blocks(), 0);
  EXPECT_EQ(scheduler_->cached_blocks(), 0);
}

// Block tables of 64 entries: a step has room for one whole table beside an entry for each token.
TEST_F(PrefixCacheTest, AStepTellsNoMoreBlocksThanItHasRoomFor) {
  Limits(1024, 4, 200);
  Was(800, 1);
  Was(800, 2);
  Asks(800, 1);
  Asks(800, 2);
  Asks(1, 3);
  EXPECT_EQ(Step(), "2:16*") << "49 entries, and none is to pass the next one";
  EXPECT_EQ(Step(), "2:1* 3:16* 4:1*");
}

}  // namespace
}  // namespace phalanx
