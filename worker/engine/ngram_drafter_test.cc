#include "worker/engine/ngram_drafter.h"

#include <algorithm>
#include <optional>
#include <random>
#include <vector>

#include "absl/types/span.h"
#include "gtest/gtest.h"

namespace phalanx {
namespace {

// The definition, by looking at every place.
std::optional<int> MatchByDefinition(absl::Span<const int32_t> text) {
  const int size = static_cast<int>(text.size());
  for (int n = NgramDrafter::kMaxGram; n >= NgramDrafter::kMinGram; --n) {
    for (int end = size - 1; end >= n; --end) {
      if (text.subspan(end - n, n) == text.subspan(size - n, n)) return end;
    }
  }
  return std::nullopt;
}

std::optional<int> MatchAfterReading(absl::Span<const int32_t> text) {
  NgramDrafter drafter;
  drafter.Read(text, static_cast<int>(text.size()));
  return drafter.Match(text);
}

TEST(NgramDrafterTest, NothingFollowsWhatHasNotBeenThere) {
  EXPECT_EQ(MatchAfterReading({}), std::nullopt);
  EXPECT_EQ(MatchAfterReading({1}), std::nullopt);
  EXPECT_EQ(MatchAfterReading({1, 1}), std::nullopt);
  EXPECT_EQ(MatchAfterReading({1, 2, 3, 4, 5}), std::nullopt);
  // One token alone is no run.
  EXPECT_EQ(MatchAfterReading({1, 2, 3, 1}), std::nullopt);
}

TEST(NgramDrafterTest, TheLongestRunCountsAndOfItsPlacesTheLatest) {
  EXPECT_EQ(MatchAfterReading({1, 2, 9, 1, 2}), 2);
  EXPECT_EQ(MatchAfterReading({1, 2, 9, 1, 2, 8, 1, 2}), 5);
  // "5 1 2" was there once, "1 2" again later.
  EXPECT_EQ(MatchAfterReading({5, 1, 2, 9, 1, 2, 8, 5, 1, 2}), 3);
  // Runs may overlap.
  EXPECT_EQ(MatchAfterReading({7, 7, 7}), 2);
}

TEST(NgramDrafterTest, AGuessGoesOnWithItsOwnBeginning) {
  const std::vector<int32_t> text = {1, 2, 3, 1, 2};
  const int match = MatchAfterReading(text).value();
  std::vector<int32_t> guess;
  for (int i = 0; i < 7; ++i) guess.push_back(NgramDrafter::Guess(text, match, i));
  EXPECT_EQ(guess, (std::vector<int32_t>{3, 1, 2, 3, 1, 2, 3}));
}

TEST(NgramDrafterTest, ReadsInPartsOfAnySize) {
  const std::vector<int32_t> text = {1, 2, 3, 4, 5, 1, 2, 3};
  NgramDrafter drafter;
  EXPECT_EQ(drafter.Read(text, 0), 0);
  EXPECT_EQ(drafter.Read(text, 3), 3);
  EXPECT_EQ(drafter.read(), 3);
  EXPECT_EQ(drafter.Read(text, 100), 5);
  EXPECT_EQ(drafter.Read(text, 100), 0);
  EXPECT_EQ(drafter.Match(text), 3);
}

TEST(NgramDrafterTest, EqualsTheDefinitionOnRandomTexts) {
  std::mt19937 random(1);
  int matches = 0;
  for (int round = 0; round < 2000; ++round) {
    const int vocab = std::uniform_int_distribution<int>(1, 12)(random);
    const int size = std::uniform_int_distribution<int>(1, 60)(random);
    std::vector<int32_t> text;
    NgramDrafter drafter;
    while (static_cast<int>(text.size()) < size) {
      const int tokens = std::uniform_int_distribution<int>(1, 5)(random);
      for (int i = 0; i < tokens; ++i) {
        text.push_back(std::uniform_int_distribution<int32_t>(0, vocab - 1)(random));
      }
      drafter.Read(text, tokens);
      const std::optional<int> match = drafter.Match(text);
      ASSERT_EQ(match, MatchByDefinition(text)) << "round " << round << " at " << text.size();
      matches += match.has_value() ? 1 : 0;
    }
  }
  EXPECT_GT(matches, 5000);
}

}  // namespace
}  // namespace phalanx
