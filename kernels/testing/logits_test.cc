// What is done with rows of logits: gathered, drawn from, scored.
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/testing/op_suite.h"
#include "kernels/testing/step_builder.h"

namespace phalanx::kernels {
namespace {

PHALANX_OP_SUITE(GatherRows, OpTest);
PHALANX_OP_SUITE(Sample, OpTest);
PHALANX_OP_SUITE(AdjustLogits, OpTest);
PHALANX_OP_SUITE(StoreLastTokens, OpTest);
PHALANX_OP_SUITE(TokenLogProbs, OpTest);

TEST_P(GatherRowsTest, TakesTheRowsThatAreWanted) {
  const std::vector<int32_t> rows = {4, 0, 4};
  Matrix x(5, 11, 11);
  Matrix out(3, 11);
  backend_->GatherRows(*stream_, rows.data(), x.tensor(), out.tensor());
  EXPECT_EQ(out.Row(0), x.Row(4));
  EXPECT_EQ(out.Row(1), x.Row(0));
  EXPECT_EQ(out.Row(2), x.Row(4));
}

TEST_P(StoreLastTokensTest, PutsEachTokenIntoItsSlotAndLeavesTheOthers) {
  const std::vector<int32_t> slots = {2, 0};
  const std::vector<int32_t> tokens = {70, 80};
  std::vector<int32_t> last_tokens = {1, 2, 3, 4};
  SamplingBatch batch;
  batch.num_logit_rows = 2;
  batch.logit_slots = slots.data();
  backend_->StoreLastTokens(*stream_, batch, tokens.data(), last_tokens.data());
  EXPECT_EQ(last_tokens, (std::vector<int32_t>{80, 2, 70, 4}));
}

// Rows without edits and mask, with either, and with both, for the whole vocabulary and parts of
// it.
TEST_P(AdjustLogitsTest, GivesTheBitsOfTheReference) {
  constexpr int kRows = 8;
  constexpr int64_t kVocab = 9001;
  std::vector<LogitEdit> edits;
  std::vector<uint32_t> mask_words;
  StepBuilder step(1);
  step.Add(0, kRows, {0});
  for (int i = 0; i < kRows; ++i) {
    SamplingRow row = {.repetition_penalty = 1.3f,
                       .presence_penalty = 0.4f,
                       .frequency_penalty = -0.3f,
                       .edits_begin = static_cast<int32_t>(edits.size())};
    for (int32_t token = i; i % 2 == 1 && token < kVocab; token += 1 + i * 3) {
      edits.push_back({.token = token,
                       .count = token % 3,
                       .bias = 0.1f * static_cast<float>(token % 7),
                       .seen = token % 2});
    }
    row.edits_end = static_cast<int32_t>(edits.size());
    if (i % 4 >= 2) {
      row.mask_begin = static_cast<int32_t>(mask_words.size());
      for (int64_t w = 0; w < MaskWords(kVocab); ++w) {
        mask_words.push_back(w % 3 == 0 ? 0 : static_cast<uint32_t>(w * 2654435761u));
      }
    }
    step.WantLogits(i, row);
  }
  SamplingBatch batch = step.sampling();
  batch.edits = edits.data();
  batch.num_edits = static_cast<int32_t>(edits.size());
  batch.mask_words = mask_words.data();
  batch.num_mask_words = static_cast<int32_t>(mask_words.size());
  for (const auto& [first, cols] :
       {std::pair<int64_t, int64_t>{0, kVocab}, {700, 333}, {8999, 2}}) {
    Matrix logits(kRows, cols, 16);
    Matrix expected(kRows, cols, 16);
    const AlignedVector<float> before = logits.values();
    backend_->AdjustLogits(*stream_, batch, logits.tensor(), first);
    reference_->AdjustLogits(*stream_, batch, expected.tensor(), first);
    EXPECT_EQ(logits.values(), expected.values()) << cols << " columns from " << first;
    EXPECT_NE(logits.values(), before);
  }
}

TEST_P(SampleTest, DrawsTheTokensOfTheReference) {
  StepBuilder step(2);
  step.Add(0, 20, {0, 1});
  for (int i = 0; i < 20; ++i) {
    step.WantLogits(i, {.temperature = static_cast<float>(i % 4) * 0.5f,
                        .top_k = i % 3 * 10,
                        .top_p = i % 2 == 0 ? 1.0f : 0.8f,
                        .min_p = i % 5 == 3 ? 0.1f : 0.0f,
                        .typical_p = i % 3 == 1 ? 0.7f : 1.0f,
                        .forced = i == 13 ? 1000 : kNotForced,
                        .position = i,
                        .seed = 17});
  }
  Matrix logits(20, 1001, 12);
  const AlignedVector<float> before = logits.values();
  std::vector<int32_t> tokens(20);
  std::vector<int32_t> expected(20);
  backend_->Sample(*stream_, step.sampling(), logits.tensor(), tokens.data());
  reference_->Sample(*stream_, step.sampling(), logits.tensor(), expected.data());
  EXPECT_EQ(tokens, expected);
  EXPECT_EQ(logits.values(), before);
}

// Rows so long, and so many, that threads share them in one way or the other. Some have ties, and
// some have no token.
TEST_P(SampleTest, DrawsTheTokensOfTheReferenceHoweverRowsAreSharedOut) {
  const std::pair<int, int64_t> shapes[] = {{1, 1}, {1, 50000}, {3, 50000}, {9, 9000}, {40, 333}};
  for (const auto& [rows, vocab] : shapes) {
    Matrix logits(rows, vocab, 14);
    for (float& logit : logits.values()) logit *= 4.0f;
    StepBuilder step(1);
    step.Add(0, rows, {0, 1, 2});
    for (int i = 0; i < rows; ++i) {
      step.WantLogits(i, {.temperature = static_cast<float>((i + 1) % 4) * 0.5f,
                          .top_k = i % 3 * 10,
                          .top_p = i % 2 == 0 ? 0.7f : 1.0f,
                          .min_p = i % 5 == 2 ? 0.01f : 0.0f,
                          .typical_p = i % 3 == 0 ? 0.9f : 1.0f,
                          .position = i,
                          .seed = 18});
      float* const row = logits.values().data() + i * vocab;
      if (i % 8 == 2) {
        for (int64_t j = 0; j < vocab; ++j) row[j] = std::trunc(row[j]);
      }
      if (i % 8 == 7) row[vocab / 2] = std::numeric_limits<float>::quiet_NaN();
    }
    std::vector<int32_t> tokens(rows);
    std::vector<int32_t> expected(rows);
    backend_->Sample(*stream_, step.sampling(), logits.tensor(), tokens.data());
    reference_->Sample(*stream_, step.sampling(), logits.tensor(), expected.data());
    EXPECT_EQ(tokens, expected) << rows << " rows of " << vocab;
  }
}

// The sums are whole numbers and the same everywhere; the logarithms of two C libraries may differ
// in the last bit of float64. So a result may differ from the reference's by the last rounding, on
// either side.
TEST_P(TokenLogProbsTest, EqualsTheReference) {
  for (int64_t vocab : {1, 7, 1001}) {
    for (int64_t rows : {0, 1, 3, 20}) {
      Matrix logits(rows, vocab, 13);
      for (float& logit : logits.values()) logit *= 10.0f;
      const AlignedVector<float> before = logits.values();
      std::vector<int32_t> targets(rows);
      for (int64_t i = 0; i < rows; ++i) targets[i] = static_cast<int32_t>(i * 37 % vocab);
      std::vector<float> out(rows);
      std::vector<float> expected(rows);
      backend_->TokenLogProbs(*stream_, logits.tensor(), targets.data(), out.data());
      reference_->TokenLogProbs(*stream_, logits.tensor(), targets.data(), expected.data());
      for (int64_t i = 0; i < rows; ++i) {
        EXPECT_NEAR(out[i], expected[i], std::abs(expected[i]) * Roundings(2))
            << "row " << i << " of " << rows << ", vocabulary of " << vocab;
      }
      EXPECT_EQ(logits.values(), before);
    }
  }
}

TEST_P(TokenLogProbsTest, TakesTargetsAndGivesResultsAnywhereInAnArray) {
  Matrix logits(2, 5, 14);
  const std::vector<int32_t> targets = {0, 3, 1};
  std::vector<float> out(3);
  backend_->TokenLogProbs(*stream_, logits.tensor(), targets.data() + 1, out.data() + 1);
  std::vector<float> whole(2);
  const std::vector<int32_t> targets_of_whole = {3, 1};
  backend_->TokenLogProbs(*stream_, logits.tensor(), targets_of_whole.data(), whole.data());
  EXPECT_EQ(out, (std::vector<float>{0.0f, whole[0], whole[1]}));
}

TEST_P(TokenLogProbsTest, ARowThatIsNoNumbersHasNoProbabilityAndTheOthersHave) {
  Matrix logits(3, 9, 15);
  logits.values()[9 + 4] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<int32_t> targets = {1, 2, 3};
  std::vector<float> out(3);
  backend_->TokenLogProbs(*stream_, logits.tensor(), targets.data(), out.data());
  EXPECT_TRUE(std::isfinite(out[0]));
  EXPECT_TRUE(std::isnan(out[1]));
  EXPECT_TRUE(std::isfinite(out[2]));
}

}  // namespace
}  // namespace phalanx::kernels
