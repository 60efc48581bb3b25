#include "tests/quality/text_comparison.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

// A sum of three products in float32, and exponentials of small numbers.
constexpr double kTolerance = 1e-6;

NextTokens Of(const std::vector<double>& probs, double shift = 0) {
  std::vector<float> logits;
  for (const double p : probs) logits.push_back(static_cast<float>(std::log(p) + shift));
  return NextTokens(logits);
}

TEST(NextTokensTest, LogProbabilitiesAreThoseOfTheSoftmax) {
  const NextTokens tokens = Of({0.5, 0.2, 0.3}, 7);
  EXPECT_NEAR(tokens.log_prob(1), std::log(0.2), kTolerance);
  EXPECT_EQ(tokens.best(), 0);
}

TEST(NextTokensTest, DivergenceFollowsTheFormula) {
  const NextTokens p = Of({0.5, 0.2, 0.3});
  const NextTokens q = Of({0.1, 0.6, 0.3}, -2);
  EXPECT_NEAR(p.DivergenceOf(q), 0.5 * std::log(5.0) + 0.2 * std::log(1.0 / 3), kTolerance);
  EXPECT_NEAR(q.DivergenceOf(p), 0.1 * std::log(0.2) + 0.6 * std::log(3.0), kTolerance);
  EXPECT_EQ(p.DivergenceOf(p), 0);
}

TEST(TextComparisonTest, TakesMeansOverTheTokens) {
  TextComparison comparison;
  const NextTokens truth = Of({0.5, 0.2, 0.3});
  const NextTokens other = Of({0.2, 0.5, 0.3});
  comparison.Add(truth, truth, 0);
  comparison.Add(truth, other, 2);
  EXPECT_EQ(comparison.num_tokens(), 2);
  EXPECT_EQ(comparison.agreement(), 0.5);
  EXPECT_NEAR(comparison.mean_divergence(), truth.DivergenceOf(other) / 2, kTolerance);
  EXPECT_NEAR(comparison.perplexity(), 1 / std::sqrt(0.5 * 0.3), 10 * kTolerance);
}

TEST(CommonPrefixTest, EndsAtTheFirstDifferenceOrTheShorterEnd) {
  EXPECT_EQ(CommonPrefix({1, 2, 3}, {1, 2, 4}), 2);
  EXPECT_EQ(CommonPrefix({1, 2, 3}, {1, 2, 3}), 3);
  EXPECT_EQ(CommonPrefix({1, 2}, {1, 2, 3}), 2);
  EXPECT_EQ(CommonPrefix({1}, {2}), 0);
  EXPECT_EQ(CommonPrefix({}, {2}), 0);
}

}  // namespace
}  // namespace phalanx
