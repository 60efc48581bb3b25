#include "model/spec/rope_scaling.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"

namespace phalanx {
namespace {

// The factors of Llama-3.2-3B-Instruct by transformers 5.23: inverse frequencies of the plain
// rotation divided by those of _compute_llama3_parameters.
TEST(RopeScalingTest, Llama3sFactorsAreThoseOfTransformers) {
  const std::vector<float> factors = Llama3Factors({.factor = 32.0}, 500000.0, 128);
  ASSERT_EQ(factors.size(), 64u);
  const struct {
    int pair;
    float factor;
  } cases[] = {{0, 1.0f},         {10, 0.999999935f}, {20, 0.999999952f}, {28, 0.999999965f},
               {29, 1.23493714f}, {30, 1.65132914f},  {31, 2.27665938f},  {32, 3.2922628f},
               {33, 5.1715977f},  {34, 9.66673054f},  {35, 32.0000006f},  {36, 31.9999992f},
               {40, 31.9999985f}, {63, 32.0000012f}};
  for (const auto& c : cases) EXPECT_NEAR(factors[c.pair], c.factor, c.factor * 2e-6) << c.pair;
}

TEST(RopeScalingTest, LinearFactorsAreAllTheSame) {
  EXPECT_EQ(LinearFactors(2.5, 4), (std::vector<float>{2.5f, 2.5f}));
  EXPECT_TRUE(LinearFactors(1.0, 4).empty());
}

TEST(RopeScalingTest, LongRopesAttentionFactor) {
  // Phi-4-mini: sqrt(17 / 12).
  EXPECT_FLOAT_EQ(LongRopeAttentionFactor(32.0, 4096), std::sqrt(17.0f / 12.0f));
  EXPECT_EQ(LongRopeAttentionFactor(1.0, 4096), 1.0f);
  EXPECT_EQ(LongRopeAttentionFactor(0.5, 4096), 1.0f);
}

}  // namespace
}  // namespace phalanx
