#include "kernels/sampling/log_prob.h"

#include <limits>
#include <vector>

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

}  // namespace
}  // namespace phalanx::kernels
