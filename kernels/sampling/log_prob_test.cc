#include "kernels/sampling/log_prob.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "absl/types/span.h"
#include "gtest/gtest.h"

namespace phalanx::kernels {
namespace {

TEST(LogProbTest, ProbabilitiesSumToOne) {
  const std::vector<float> logits = {0.5f, -3.0f, 2.25f, 0.0f};
  double sum = 0;
  for (int target = 0; target < 4; ++target) sum += std::exp(LogProb(logits, target));
  // Four float32 roundings of at most 2^-24 each, of values below 4.
  EXPECT_NEAR(sum, 1.0, 4 * 4 * 0x1p-24);
  EXPECT_NEAR(LogProb(logits, 2) - LogProb(logits, 1), 5.25, 8 * 0x1p-24);
}

TEST(LogProbTest, LargeLogitsDoNotOverflow) {
  const std::vector<float> logits = {10000.0f, 10000.0f, -10000.0f};
  EXPECT_FLOAT_EQ(LogProb(logits, 0), -0.6931472f);
  EXPECT_FLOAT_EQ(LogProb(logits, 2), -20000.693f);
}

TEST(LogProbTest, LogitsThatAreNoNumbersHaveNoProbability) {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::vector<float>& logits : std::vector<std::vector<float>>{
           {nan, 1, 2}, {1, nan, 2}, {1, 2, nan}, {1, inf, 2}, {-inf, -inf, -inf}}) {
    for (int target = 0; target < 3; ++target) EXPECT_TRUE(std::isnan(LogProb(logits, target)));
  }
}

// The distance from a float to the next one away from zero.
double Ulp(float x) { return std::nextafter(std::abs(x), INFINITY) - std::abs(x); }

TEST(LogProbTest, AgreesWithASumInFloat64) {
  std::mt19937 random(31);
  std::normal_distribution<float> normal;
  for (int i = 0; i < 2000; ++i) {
    std::vector<float> logits(1 + random() % 3000);
    const float scale = static_cast<float>(1 << i % 8);
    for (float& logit : logits) logit = normal(random) * scale;
    const double max = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const float logit : logits) sum += std::exp(logit - max);
    const int32_t target = static_cast<int32_t>(random() % logits.size());
    const auto expected = static_cast<float>(logits[target] - max - std::log(sum));
    EXPECT_NEAR(LogProb(logits, target), expected, Ulp(expected));
  }
}

TEST(LogProbTest, SumsOfPartsAddUpToThatOfTheRow) {
  std::mt19937 random(32);
  std::normal_distribution<float> normal(0.0f, 8.0f);
  std::vector<float> logits(5000);
  for (float& logit : logits) logit = normal(random);
  const float max = *std::max_element(logits.begin(), logits.end());
  const ExpSum whole = SumOfExponentials(logits, max);
  for (const size_t border : {0, 1, 777, 4999, 5000}) {
    const absl::Span<const float> row = logits;
    const ExpSum first = SumOfExponentials(row.subspan(0, border), max);
    const ExpSum second = SumOfExponentials(row.subspan(border), max);
    EXPECT_EQ(first.high + second.high, whole.high);
    EXPECT_EQ(first.low + second.low, whole.low);
  }
}

TEST(LogProbTest, ExponentialsAreRightTo50BitsAndEndAt88BinaryPlaces) {
  std::mt19937 random(33);
  std::uniform_real_distribution<float> uniform(-70.0f, 0.0f);
  for (int i = 0; i < 100000; ++i) {
    const float x = i == 0 ? 0.0f : uniform(random);
    const ExpSum sum = SumOfExponentials({x}, 0.0f);
    ASSERT_LT(sum.low, uint64_t{1} << 44);
    ASSERT_LE(sum.high, uint64_t{1} << 44);
    const long double value = std::ldexp(static_cast<long double>(sum.high), -44) +
                              std::ldexp(static_cast<long double>(sum.low), -88);
    const long double expected = std::exp(static_cast<long double>(x));
    ASSERT_NEAR(value, expected, expected * 0x1p-50L + 0x1p-88L) << x;
  }
}

TEST(LogProbTest, ATokenOfMinusInfinityHasThatLogProbability) {
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(LogProb({1.0f, -inf, 2.0f}, 1), -inf);
}

}  // namespace
}  // namespace phalanx::kernels
