// In which order sequences run: priorities, tenants and deadlines.
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/engine/scheduler.h"
#include "worker/engine/testing/scheduler_fixture.h"

namespace phalanx {
namespace {

class OrderTest : public SchedulerTest {
 protected:
  // Full steps that compute 1,000 tokens in a second.
  void MeasureSpeed(int step_tokens) {
    for (int i = 0; i < StepSpeed::kMinSteps; ++i) {
      StepPlan plan;
      plan.chunks.push_back({.num_tokens = step_tokens});
      scheduler_->NoteStepTime(plan, absl::Milliseconds(step_tokens));
    }
  }

  std::vector<uint64_t> Late() const {
    std::vector<uint64_t> late;
    for (const StepPlan::Late& each : plan_.late) late.push_back(static_cast<uint64_t>(each.id));
    return late;
  }

  absl::Time In(int milliseconds) const { return now_ + absl::Milliseconds(milliseconds); }
};

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST_F(OrderTest, AHigherPriorityRunsFirstAndInterruptsAPrompt) {
  Limits(16, 4, 32);
  ArrivesAs("", 0, 20);
  ArrivesAs("", 0, 20);
  EXPECT_EQ(Step(), "0:16");
  ArrivesAs("", 1, 20);
  EXPECT_EQ(Step(), "2:16");
  EXPECT_EQ(Step(), "2:4* 0:4* 1:8");
}

TEST_F(OrderTest, APriorityIsOvertakenByAge) {
  Limits(16, 4, 32);
  ArrivesAs("", 0, 16);
  now_ += absl::Seconds(9);
  ArrivesAs("", 1, 16);
  now_ += absl::Seconds(2);
  ArrivesAs("", 1, 16);
  EXPECT_EQ(Step(), "1:16*");
  Leaves(1);
  EXPECT_EQ(Step(), "0:16*");
  Leaves(0);
  EXPECT_EQ(Step(), "2:16*");
}

TEST_F(OrderTest, TheLowestPriorityIsPreemptedAndTheYoungestOfIt) {
  Limits(128, 4, 6);
  ArrivesAs("", -1, 15);
  ArrivesAs("", 0, 15);
  ArrivesAs("", -1, 15);
  Step();
  ASSERT_EQ(scheduler_->running(), 3);
  while (plan_.preemptions == 0) Step();
  EXPECT_EQ(Step(), "1:1* 0:1*");
  while (plan_.preemptions == 0) Step();
  EXPECT_EQ(Step(), "1:1*");
}

TEST_F(OrderTest, WhatWasPreemptedGoesBeforeAnyPrompt) {
  Limits(128, 4, 4);
  ArrivesAs("", 0, 16);
  ArrivesAs("", 0, 16);
  Steps(18);
  ASSERT_EQ(plan_.preemptions, 1);
  ArrivesAs("", kMaxPriority, 16);
  ArrivesAs("other", 0, 16);
  Leaves(0);
  EXPECT_EQ(Step(), "1:33*");
}

TEST_F(OrderTest, TenantsShareAStep) {
  Limits(1024, 8, 256);
  ArrivesAs("a", 0, 1000);
  ArrivesAs("a", 0, 1000);
  ArrivesAs("b", 0, 1000);
  EXPECT_EQ(Step(), "0:512 2:512");
  EXPECT_EQ(Step(), "0:488* 1:48 2:488*");
}

TEST_F(OrderTest, AFloodOfOneTenantDoesNotHoldUpAnother) {
  Limits(64, 8, 256);
  for (int i = 0; i < 100; ++i) ArrivesAs("a", kMaxPriority, 64);
  for (int i = 0; i < 3; ++i) {
    EXPECT_NE(Step(), "");
    Leaves(i);
  }
  ArrivesAs("b", kMinPriority, 64);
  // The rest of the turn of "a".
  int steps = 1;
  while (Step() != "100:64*") {
    Leaves(static_cast<uint64_t>(plan_.chunks.front().id));
    ASSERT_LE(++steps, 1 + kTurnTokens / 64);
  }
}

TEST_F(OrderTest, NobodyIsLateBeforeSpeedsAreMeasured) {
  Limits(64, 4, 64);
  ArrivesAs("", 0, 64, In(1));
  EXPECT_EQ(Step(), "0:64*");
}

TEST_F(OrderTest, APromptThatCannotBeComputedInTimeIsLate) {
  Limits(64, 4, 64);
  MeasureSpeed(64);
  ArrivesAs("", 0, 500, In(500));
  ArrivesAs("", 0, 500, In(999));
  EXPECT_EQ(Step(), "0:64");
  EXPECT_THAT(Late(), ElementsAre(1)) << "1,000 tokens";
  EXPECT_EQ(plan_.late[0].estimate, absl::Seconds(1));
  Leaves(1);
  EXPECT_EQ(Step(), "0:64");
  EXPECT_THAT(Late(), IsEmpty());
}

TEST_F(OrderTest, PromptsThatGoLaterDoNotMakeOneLate) {
  Limits(64, 4, 64);
  MeasureSpeed(64);
  ArrivesAs("", 0, 500);
  ArrivesAs("other", 0, 500);
  ArrivesAs("", 1, 500, In(500));
  EXPECT_EQ(Step(), "2:64");
  EXPECT_THAT(Late(), IsEmpty());
}

TEST_F(OrderTest, NothingIsComputedForOneThatHasBecomeLate) {
  Limits(64, 1, 64);
  MeasureSpeed(64);
  ArrivesAs("", 0, 64);
  ArrivesAs("", 0, 200, In(1000));
  ArrivesAs("", 0, 10, In(1000));
  EXPECT_EQ(Step(), "0:64*");
  now_ += absl::Milliseconds(801);
  EXPECT_EQ(Step(), "0:1*");
  EXPECT_THAT(Late(), IsEmpty()) << "it could not begin";
  Leaves(0);
  EXPECT_EQ(Step(), "2:10*");
  EXPECT_THAT(Late(), ElementsAre(1));
  EXPECT_EQ(plan_.late[0].estimate, absl::Milliseconds(200));
  Leaves(1);
}

TEST_F(OrderTest, WhatThePrefixCacheHasTakesNoTime) {
  Limits(64, 1, 64, /*prefix_cache=*/true);
  const auto ask = [&](absl::Time deadline) {
    scheduler_->Add(SequenceId{next_id_++}, {.prompt_token_ids = std::vector<int32_t>(64, 3),
                                             .sampling = {},
                                             .rope = {},
                                             .arrival = now_,
                                             .deadline = deadline});
  };
  ask(absl::InfiniteFuture());
  Step();
  Leaves(0);
  ask(In(100));
  MeasureSpeed(64);
  now_ += absl::Milliseconds(30);
  EXPECT_EQ(Step(), "1:16*");
  EXPECT_THAT(Late(), IsEmpty());
}

TEST_F(OrderTest, APromptThatIsScoredHasNoFirstToken) {
  Limits(64, 1, 64);
  MeasureSpeed(64);
  scheduler_->Add(SequenceId{0}, {.prompt_token_ids = std::vector<int32_t>(500, 3),
                                  .max_new_tokens = 0,
                                  .sampling = {},
                                  .rope = {},
                                  .score = true,
                                  .arrival = now_,
                                  .deadline = In(1)});
  EXPECT_EQ(Step(), "0:64");
}

// Each of these has 100,000 edits, and a step has room for 262,144: the third waits for its token.
TEST_F(OrderTest, AStepHasRoomForSoManyEdits) {
  Limits(16, 4, 32);
  std::vector<int32_t> seen(100'000);
  std::iota(seen.begin(), seen.end(), 0);
  for (uint64_t id = 0; id < 3; ++id) {
    scheduler_->Add(SequenceId{id},
                    {.prompt_token_ids = {1, 2, 3},
                     .max_new_tokens = 10,
                     .sampling = {.repetition_penalty = 2.0f},
                     .rope = {},
                     .rules = TokenRules::Create({.repetition_penalty = 2.0f}, {}, {}, seen)});
  }
  // Its other tokens are computed.
  EXPECT_EQ(Step(), "0:3* 1:3* 2:2");
  EXPECT_EQ(Rows().edits.size(), 200'000);
  EXPECT_EQ(Step(), "0:1* 1:1*");
  scheduler_->Remove(SequenceId{0});
  EXPECT_EQ(Step(), "1:1* 2:1*");
}

}  // namespace
}  // namespace phalanx
