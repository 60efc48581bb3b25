#include "coordinator/routing/choose_group.h"

#include "gtest/gtest.h"

namespace phalanx {
namespace {

TEST(ChooseGroupTest, HasNoAnswerWithoutCandidates) { EXPECT_EQ(ChooseGroup({}), std::nullopt); }

TEST(ChooseGroupTest, TakesTheGroupWithFewestRequests) {
  EXPECT_EQ(ChooseGroup({{.requests = 2}, {.requests = 1}, {.requests = 3}}), 1);
}

TEST(ChooseGroupTest, OneLongPromptOutweighsSeveralRunningRequests) {
  EXPECT_EQ(ChooseGroup({{.requests = 1, .pending_prompt_tokens = 4000}, {.requests = 3}}), 1);
}

TEST(ChooseGroupTest, TakesTurnsAmongEqualGroups) {
  EXPECT_EQ(ChooseGroup({{.dispatched = 5}, {.dispatched = 4}}), 1);
  EXPECT_EQ(ChooseGroup({{.dispatched = 4}, {.dispatched = 4}}), 0);
}

TEST(ChooseGroupTest, AGroupThatRefusedLatelyComesLastHoweverIdleItIs) {
  EXPECT_EQ(ChooseGroup({{.refused_lately = true}, {.requests = 30}}), 1);
  EXPECT_EQ(ChooseGroup({{.requests = 2, .refused_lately = true}, {.refused_lately = true}}), 1);
}

}  // namespace
}  // namespace phalanx
