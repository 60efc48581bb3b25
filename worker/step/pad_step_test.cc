#include "worker/step/pad_step.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/step/testing/step_builder.h"

namespace phalanx {
namespace {

using testing::ElementsAre;

StepBlock TwoDecodes() {
  StepBuilder builder;
  TestSequence first{.tokens = std::vector<int32_t>(17, 8), .blocks = {3, 4}, .slot = 2};
  TestSequence second{.tokens = {7, 6}, .blocks = {5}, .slot = 0, .rope_list = 1};
  first.cached_tokens = 16;
  second.cached_tokens = 1;
  builder.Add(first, 1);
  builder.Add(second, 1);
  return std::move(builder.Finish().forward);
}

TEST(PadStepTest, PaddingFollowsTheSequencesAndOwnsNothing) {
  const StepBlock padded = PadDecodes(TwoDecodes(), 4, /*padding_slot=*/9);
  const StepBlock::ConstArrays arrays = padded.arrays();
  EXPECT_THAT(arrays.token_ids, ElementsAre(8, 6, 0, 0));
  EXPECT_THAT(arrays.positions, ElementsAre(16, 1, 0, 0));
  EXPECT_THAT(arrays.seq_of_token, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(arrays.query_starts, ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(arrays.kv_lengths, ElementsAre(17, 2, 1, 1));
  EXPECT_THAT(arrays.slots, ElementsAre(2, 0, 9, 9));
  EXPECT_THAT(arrays.rope_lists, ElementsAre(0, 1, 0, 0));
  ASSERT_EQ(arrays.table_entries.size(), 3u);
  EXPECT_EQ(arrays.table_entries[1].block, 4);
}

TEST(PadStepTest, ABatchOfTheRightSizeStaysAsItIs) {
  const StepBlock block = TwoDecodes();
  EXPECT_EQ(PadDecodes(block, 2, 9).bytes(), block.bytes());
}

TEST(PadStepTest, AStepWithAPrefillIsNoneOfDecodesOnly) {
  EXPECT_TRUE(IsDecodeOnly({.num_tokens = 2, .num_seqs = 2}));
  EXPECT_FALSE(IsDecodeOnly({.num_tokens = 3, .num_seqs = 2}));
}

}  // namespace
}  // namespace phalanx
