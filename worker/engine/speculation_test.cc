#include "worker/engine/speculation.h"

#include <algorithm>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

// A text that can always be guessed, at any length.
std::vector<int32_t> Periodic(int size) {
  std::vector<int32_t> text(size);
  for (int i = 0; i < size; ++i) text[i] = i % 5;
  return text;
}

// How long the next draft is, of at most `most` tokens.
int DraftAt(Speculation& speculation, int size, int most = 1000) {
  std::vector<int32_t> text = Periodic(size);
  speculation.Read(text, size);
  return speculation.AppendDraft(text, most);
}

TEST(SpeculationTest, DraftsGrowWhileTheyAreRightAndShrinkToWhatWas) {
  Speculation speculation(10);
  EXPECT_EQ(DraftAt(speculation, 50), 2);
  speculation.Note(2, 2, 53);
  EXPECT_EQ(DraftAt(speculation, 53), 4);
  speculation.Note(4, 4, 58);
  EXPECT_EQ(DraftAt(speculation, 58), 8);
  speculation.Note(8, 8, 67);
  EXPECT_EQ(DraftAt(speculation, 67), 10);
  speculation.Note(10, 3, 71);
  EXPECT_EQ(DraftAt(speculation, 71), 3);
  speculation.Note(3, 0, 72);
  EXPECT_EQ(DraftAt(speculation, 72), 1);
}

TEST(SpeculationTest, NeverMoreThanIsAskedForOrFits) {
  Speculation speculation(1);
  EXPECT_EQ(DraftAt(speculation, 50), 1);
  speculation.Note(1, 1, 52);
  EXPECT_EQ(DraftAt(speculation, 52), 1);
  EXPECT_EQ(DraftAt(speculation, 52, 0), 0);
}

TEST(SpeculationTest, ADraftIsWhatFollowedBefore) {
  Speculation speculation(3);
  std::vector<int32_t> text = Periodic(12);
  speculation.Read(text, 100);
  EXPECT_TRUE(speculation.has_draft());
  EXPECT_EQ(speculation.AppendDraft(text, 5), 2);
  EXPECT_EQ(text, Periodic(14));
  EXPECT_EQ(speculation.AppendDraft(text, 5), 0) << "of another text than was read";
}

TEST(SpeculationTest, NothingIsDraftedBeforeAllHasBeenRead) {
  Speculation speculation(3);
  const std::vector<int32_t> text = Periodic(30);
  EXPECT_EQ(speculation.Read(text, 20), 20);
  EXPECT_FALSE(speculation.has_draft());
  EXPECT_EQ(speculation.Read(text, 20), 10);
  EXPECT_TRUE(speculation.has_draft());
}

TEST(SpeculationTest, PoorRoundsPauseItForTwiceAsLongEachTime) {
  Speculation speculation(8);
  int size = 100;
  std::vector<int> pauses;
  for (int poor = 0; poor < 4; ++poor) {
    // One less than a quarter of what is looked at was right.
    speculation.Note(Speculation::kRoundTokens - 1, Speculation::kRoundTokens / 4 - 1, size);
    EXPECT_GT(DraftAt(speculation, size), 0) << "the round is not over";
    speculation.Note(1, 0, size);
    const int paused_at = size;
    while (DraftAt(speculation, size) == 0) ++size;
    pauses.push_back(size - paused_at);
  }
  EXPECT_EQ(pauses, (std::vector<int>{64, 128, 256, 512}));
}

TEST(SpeculationTest, OneLongDraftThatIsWrongPausesNothing) {
  Speculation speculation(32);
  int size = 100;
  for (const int right : {2, 4, 8, 16}) speculation.Note(right, right, size += right + 1);
  speculation.Note(32, 0, ++size);
  EXPECT_EQ(DraftAt(speculation, size), 1);
  for (int wrong = 0; DraftAt(speculation, size) > 0; ++wrong) {
    ASSERT_LT(wrong, 20) << "but those that follow count";
    speculation.Note(1, 0, ++size);
  }
}

TEST(SpeculationTest, AFairRoundPausesNothingAndMakesPausesShortAgain) {
  Speculation speculation(8);
  speculation.Note(Speculation::kRoundTokens, 0, 100);
  EXPECT_EQ(DraftAt(speculation, 163), 0);
  EXPECT_GT(DraftAt(speculation, 164), 0);
  speculation.Note(Speculation::kRoundTokens, Speculation::kRoundTokens / 4, 200);
  EXPECT_GT(DraftAt(speculation, 200), 0);
  speculation.Note(Speculation::kRoundTokens, 0, 300);
  EXPECT_EQ(DraftAt(speculation, 363), 0);
  EXPECT_GT(DraftAt(speculation, 364), 0);
}

}  // namespace
}  // namespace phalanx
