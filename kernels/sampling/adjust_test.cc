#include "kernels/sampling/adjust.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A row of `logits` whose ids begin at `first_id`, after its adjustment.
std::vector<float> Adjusted(std::vector<float> logits, const std::vector<LogitEdit>& edits,
                            SamplingRow row, const std::vector<uint32_t>& mask = {},
                            int64_t first_id = 0) {
  SamplingBatch batch;
  batch.edits = edits.data();
  batch.mask_words = mask.data();
  row.edits_end = static_cast<int32_t>(edits.size());
  row.mask_begin = mask.empty() ? kNoMask : 0;
  AdjustRow(batch, row, first_id, absl::MakeSpan(logits));
  return logits;
}

TEST(AdjustRowTest, AddsTheBias) {
  EXPECT_EQ(Adjusted({1, 2, 3}, {{.token = 1, .bias = 0.5f}}, {}),
            (std::vector<float>{1, 2.5f, 3}));
}

TEST(AdjustRowTest, TheRepetitionPenaltyMakesTokensOfPromptAndAnswerLessLikelyWhateverTheSign) {
  const SamplingRow row = {.repetition_penalty = 2.0f};
  const std::vector<LogitEdit> edits = {
      {.token = 0, .seen = 1}, {.token = 1, .seen = 1}, {.token = 2, .seen = 0}};
  EXPECT_EQ(Adjusted({3, -3, 3}, edits, row), (std::vector<float>{1.5f, -6, 3}));
}

TEST(AdjustRowTest, PresenceCountsOnceAndFrequencyEachTimeAndThePromptNotAtAll) {
  const SamplingRow row = {.presence_penalty = 1.0f, .frequency_penalty = 0.25f};
  const std::vector<LogitEdit> edits = {{.token = 0, .count = 3, .seen = 1},
                                        {.token = 1, .count = 0, .seen = 1}};
  EXPECT_EQ(Adjusted({5, 5}, edits, row), (std::vector<float>{3.25f, 5}));
}

TEST(AdjustRowTest, BiasComesBeforeTheRepetitionPenaltyAndThatBeforeTheOthers) {
  const SamplingRow row = {
      .repetition_penalty = 2.0f, .presence_penalty = 1.0f, .frequency_penalty = 1.0f};
  EXPECT_EQ(Adjusted({2}, {{.token = 0, .count = 2, .bias = 4.0f, .seen = 1}}, row),
            std::vector<float>{(2 + 4) / 2.0f - 1 - 2});
}

TEST(AdjustRowTest, MasksWhatTheBitsDoNotAllow) {
  const std::vector<float> adjusted =
      Adjusted(std::vector<float>(70, 1.0f), {}, {}, {0x80000001u, 0, ~uint32_t{0}});
  for (int i = 0; i < 70; ++i) {
    EXPECT_EQ(adjusted[i], i == 0 || i == 31 || i >= 64 ? 1.0f : -kInfinity) << i;
  }
}

TEST(AdjustRowTest, APartOfARowTakesItsOwnEditsAndBits) {
  const std::vector<LogitEdit> edits = {{.token = 39, .bias = 1},
                                        {.token = 40, .bias = 2},
                                        {.token = 42, .bias = 3},
                                        {.token = 43, .bias = 4}};
  // Bits 40 and 42 are set.
  EXPECT_EQ(Adjusted({0, 0, 0}, edits, {}, {0, 0x500}, 40), (std::vector<float>{2, -kInfinity, 3}));
}

TEST(AdjustRowTest, ABiasOfMinusInfinityForbidsATokenAndNanStaysNan) {
  const std::vector<float> adjusted =
      Adjusted({1, std::nanf("")}, {{.token = 0, .bias = -kInfinity}, {.token = 1, .seen = 1}},
               {.repetition_penalty = 2.0f});
  EXPECT_EQ(adjusted[0], -kInfinity);
  EXPECT_TRUE(std::isnan(adjusted[1]));
}

}  // namespace
}  // namespace phalanx::kernels
