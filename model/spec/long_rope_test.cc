#include "model/spec/long_rope.h"

#include "gtest/gtest.h"

namespace phalanx {
namespace {

TEST(LongRopeTest, ModelWithOneListHasNoChoice) {
  EXPECT_EQ(PlanRope(LongRopePolicy::kAdmission, 0, 100000, 100000), RopePlan());
  EXPECT_EQ(PlanRope(LongRopePolicy::kReference, 0, 100000, 100000), RopePlan());
}

TEST(LongRopeTest, AdmissionLooksAtPromptAndAnswerTogether) {
  const auto list = [](int prompt, int max_new) {
    const RopePlan plan = PlanRope(LongRopePolicy::kAdmission, 4096, prompt, max_new);
    EXPECT_EQ(plan.switch_above_tokens, 0);
    return plan.list;
  };
  EXPECT_EQ(list(4000, 96), kShortRopeList);
  EXPECT_EQ(list(4000, 97), kLongRopeList);
  EXPECT_EQ(list(1, 2147483647), kLongRopeList);
  EXPECT_EQ(list(4096, 0), kShortRopeList);
  EXPECT_EQ(list(4097, 0), kLongRopeList);
}

// An unset max_new_tokens means all that is left of the context.
TEST(LongRopeTest, AShortChatOfUnknownLengthIsShortByDefault) {
  EXPECT_EQ(PlanRope(kDefaultLongRopePolicy, 4096, 12, 131072 - 12),
            (RopePlan{.list = kShortRopeList, .switch_above_tokens = 4096}));
  EXPECT_EQ(PlanRope(LongRopePolicy::kAdmission, 4096, 12, 131072 - 12),
            (RopePlan{.list = kLongRopeList}));
}

TEST(LongRopeTest, ReferenceSwitchesWhenTheSequenceCrossesTheBorder) {
  EXPECT_EQ(PlanRope(LongRopePolicy::kReference, 4096, 10, 30000),
            (RopePlan{.list = kShortRopeList, .switch_above_tokens = 4096}));
  EXPECT_EQ(PlanRope(LongRopePolicy::kReference, 4096, 4096, 1),
            (RopePlan{.list = kShortRopeList, .switch_above_tokens = 4096}));
  EXPECT_EQ(PlanRope(LongRopePolicy::kReference, 4096, 4097, 1), (RopePlan{.list = kLongRopeList}));
}

}  // namespace
}  // namespace phalanx
