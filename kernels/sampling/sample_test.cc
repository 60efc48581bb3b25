#include "kernels/sampling/sample.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/sampling/philox.h"

namespace phalanx::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> RandomLogits(size_t n, int seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  std::vector<float> logits(n);
  for (float& l : logits) l = normal(random);
  return logits;
}

// How often each token is drawn over `draws` positions.
std::vector<int> Counts(const std::vector<float>& logits, SamplingRow row, int draws) {
  std::vector<int> counts(logits.size(), 0);
  for (row.position = 0; row.position < draws; ++row.position) ++counts[SampleToken(logits, row)];
  return counts;
}

double ChiSquare(const std::vector<int>& counts, const std::vector<double>& probabilities,
                 int draws) {
  double sum = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (probabilities[i] == 0) {
      EXPECT_EQ(counts[i], 0) << "token " << i;
      continue;
    }
    const double expected = probabilities[i] * draws;
    sum += (counts[i] - expected) * (counts[i] - expected) / expected;
  }
  return sum;
}

std::vector<double> Softmax(const std::vector<float>& logits, double temperature) {
  std::vector<double> p(logits.size());
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) sum += p[i] = std::exp(logits[i] / temperature);
  for (double& x : p) x /= sum;
  return p;
}

// Chi-square stays below mean + 4 standard deviations but once in some thousands of seeds; the
// seeds here are fixed. Degrees of freedom k have mean k and variance 2 k.
double Bound(int degrees) { return degrees + 4 * std::sqrt(2.0 * degrees); }

TEST(SampleTokenTest, ZeroTemperatureTakesTheLowestIdOfTheMostLikely) {
  EXPECT_EQ(SampleToken({1.0f, 7.0f, 7.0f, -2.0f}, {}), 1);
  EXPECT_EQ(SampleToken({-0.0f, 0.0f}, {}), 0);
  EXPECT_EQ(SampleToken({-5.0f}, {}), 0);
}

TEST(SampleTokenTest, IsAFunctionOfLogitsSeedAndPosition) {
  const std::vector<float> logits = RandomLogits(1000, 1);
  int differ_by_seed = 0;
  int differ_by_position = 0;
  for (int i = 0; i < 64; ++i) {
    const SamplingRow row{.temperature = 1.0f, .position = i, .seed = 42};
    const int32_t token = SampleToken(logits, row);
    EXPECT_EQ(SampleToken(logits, row), token);
    SamplingRow other = row;
    other.seed = uint64_t{42} << 32;
    differ_by_seed += SampleToken(logits, other) != token;
    other = row;
    other.position += 1000;
    differ_by_position += SampleToken(logits, other) != token;
  }
  EXPECT_GT(differ_by_seed, 32);
  EXPECT_GT(differ_by_position, 32);
}

// Answers of an independent program in another language, to the definition in the header.
TEST(SampleTokenTest, KeepsItsDefinition) {
  std::vector<float> logits(256);
  for (int i = 0; i < 256; ++i) logits[i] = static_cast<float>(i * 37 % 256) / 32.0f;
  std::vector<int32_t> tokens;
  for (int p = 0; p < 8; ++p) {
    tokens.push_back(SampleToken(logits, {.temperature = 0.7f, .position = p, .seed = 2024}));
    tokens.push_back(SampleToken(
        logits, {.temperature = 1.5f, .top_k = 50, .top_p = 0.9f, .position = p, .seed = 7}));
  }
  EXPECT_EQ(tokens, (std::vector<int32_t>{76, 200, 124, 214, 27, 6, 138, 75, 124, 255, 138, 83, 116,
                                          131, 227, 131}));
}

// The random number of a row, from 0 to 2^64 - 1.
uint64_t RandomBits(const SamplingRow& row) {
  const auto words =
      Philox4x32({static_cast<uint32_t>(row.position), 0, 0, 0},
                 {static_cast<uint32_t>(row.seed), static_cast<uint32_t>(row.seed >> 32)});
  return words[0] | static_cast<uint64_t>(words[1]) << 32;
}

// floor(random bits * sum / 2^64): what the running sum of weights has to be above.
uint64_t Target(const SamplingRow& row, uint64_t sum) {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(RandomBits(row)) * sum >> 64);
}

TEST(SampleTokenTest, RowsOfEveryLengthAreDrawnFromTheirFirstTokenToTheirLast) {
  for (const size_t size : {1, 2, 511, 512, 513, 1024, 1025, 5000}) {
    const std::vector<float> equal(size, 0.5f);
    for (int p = 0; p < 200; ++p) {
      const SamplingRow row{.temperature = 1.0f, .position = p, .seed = size};
      ASSERT_EQ(SampleToken(equal, row), static_cast<int32_t>(Target(row, size)))
          << size << " tokens, position " << p;
    }
  }
}

// Two tokens, one of them the best. For a random number there is a least weight of the other with
// which that one is drawn, and so a least exponent: a little above it one token is drawn, a little
// below it the other. Logit and temperature together give exponents finer than a float is.
TEST(SampleTokenTest, WeightsAreExponentialsTo36Bits) {
  // Of the polynomial's remainder, of rounding to a whole weight, and of what is tried.
  const double margin = std::ldexp(1.0, -37) + std::ldexp(1.0, -38);
  int tried = 0;
  for (int p = 0; p < 1000; ++p) {
    SamplingRow row{.temperature = 1.0f, .position = p, .seed = 77};
    const long double u = std::ldexp(static_cast<long double>(RandomBits(row)), -64);
    const long double border = std::log(u / (1 - u));
    // Weights that are small have a coarse whole number.
    if (!(border < -0.001L && border > -4.0L)) continue;
    for (const int side : {-1, 1}) {
      float logit = 0.0f;
      for (float t = 1.0f; t < 2.0f; t = std::nextafter(t, 2.0f)) {
        const auto candidate = static_cast<float>(border * t);
        const double off = side * static_cast<double>(candidate * (1.0 / t) - border);
        if (off < margin || off > 1.5 * margin) continue;
        logit = candidate;
        row.temperature = t;
        break;
      }
      if (logit == 0.0f) continue;  // A few borders have no such pair.
      EXPECT_EQ(SampleToken({logit, 0.0f}, row), side > 0 ? 0 : 1)
          << "exponent " << static_cast<double>(border) << ", side " << side;
      ++tried;
    }
  }
  EXPECT_GT(tried, 500);
}

// Between two best tokens stand as many others as a row may have. At this position the random
// number is so near to the middle that the others are drawn if they weigh anything at all.
TEST(SampleTokenTest, ATokenWeighsNothingFrom2To44TimesLessLikelyOn) {
  const SamplingRow row{.temperature = 1.0f, .position = 15368622, .seed = 1};
  constexpr size_t kSize = size_t{1} << 19;
  constexpr uint64_t kBest = uint64_t{1} << 44;
  const auto drawn = [&](double exponent) {
    std::vector<float> logits(kSize, static_cast<float>(exponent));
    logits.front() = logits.back() = 0.0f;
    return SampleToken(logits, row);
  };
  const double least = -44 * std::log(2.0);
  const int32_t with_others = static_cast<int32_t>(Target(row, 2 * kBest + kSize - 2) - kBest) + 1;
  EXPECT_EQ(with_others, 107225);
  EXPECT_EQ(drawn(least + 0.05), with_others);
  EXPECT_EQ(drawn(least - 0.05), Target(row, 2 * kBest) < kBest ? 0 : kSize - 1);
}

TEST(SampleTokenTest, FollowsTheSoftmax) {
  const std::vector<float> logits = {0.0f, 1.0f, -1.0f, 2.0f, 0.5f};
  constexpr int kDraws = 20000;
  for (float temperature : {0.5f, 1.0f, 3.0f}) {
    const std::vector<int> counts = Counts(logits, {.temperature = temperature, .seed = 5}, kDraws);
    EXPECT_LT(ChiSquare(counts, Softmax(logits, temperature), kDraws), Bound(4));
  }
}

TEST(SampleTokenTest, DrawsAreUniformOverEqualLogits) {
  constexpr int kDraws = 50000;
  const std::vector<int> counts =
      Counts(std::vector<float>(100, -3.25f), {.temperature = 0.3f, .seed = 11}, kDraws);
  EXPECT_LT(ChiSquare(counts, std::vector<double>(100, 0.01), kDraws), Bound(99));
}

TEST(SampleTokenTest, TopKOfOneIsGreedy) {
  for (int seed = 0; seed < 20; ++seed) {
    const std::vector<float> logits = RandomLogits(500, seed);
    const SamplingRow row{.temperature = 2.0f, .top_k = 1, .position = seed, .seed = 9};
    EXPECT_EQ(SampleToken(logits, row), SampleToken(logits, {}));
  }
}

TEST(SampleTokenTest, TopKKeepsTheMostLikelyAndLowIdsAmongTies) {
  const std::vector<float> logits = {1.0f, 3.0f, 2.0f, 2.0f, 2.0f, -1.0f};
  constexpr int kDraws = 20000;
  const std::vector<int> counts =
      Counts(logits, {.temperature = 1.0f, .top_k = 3, .seed = 3}, kDraws);
  const double e = std::exp(1.0);
  const double sum = e + 2;
  EXPECT_LT(ChiSquare(counts, {0, e / sum, 1 / sum, 1 / sum, 0, 0}, kDraws), Bound(2));
}

TEST(SampleTokenTest, TopKOfAllAndMoreKeepsAll) {
  const std::vector<float> logits = RandomLogits(10, 4);
  for (int p = 0; p < 100; ++p) {
    const SamplingRow all{.temperature = 1.0f, .position = p, .seed = 1};
    for (int k : {10, 11, 1 << 30}) {
      SamplingRow row = all;
      row.top_k = k;
      EXPECT_EQ(SampleToken(logits, row), SampleToken(logits, all));
    }
  }
}

TEST(SampleTokenTest, TopPKeepsTheFewestThatReachIt) {
  // Probabilities 1/2, 1/4, 1/8, 1/8: exact in weights of 2^44.
  const float ln2 = std::log(2.0f);
  const std::vector<float> logits = {0.0f, 2 * ln2, ln2, 0.0f};
  const auto drawn = [&](float top_p) {
    const std::vector<int> counts =
        Counts(logits, {.temperature = 1.0f, .top_p = top_p, .seed = 8}, 2000);
    std::vector<bool> seen;
    for (int c : counts) seen.push_back(c > 0);
    return seen;
  };
  EXPECT_EQ(drawn(1e-9f), (std::vector<bool>{false, true, false, false}));
  EXPECT_EQ(drawn(0.49f), (std::vector<bool>{false, true, false, false}));
  EXPECT_EQ(drawn(0.51f), (std::vector<bool>{false, true, true, false}));
  EXPECT_EQ(drawn(0.76f), (std::vector<bool>{true, true, true, false}));
  EXPECT_EQ(drawn(0.88f), (std::vector<bool>{true, true, true, true}));
  EXPECT_EQ(drawn(1.0f), (std::vector<bool>{true, true, true, true}));
}

TEST(SampleTokenTest, TopPEqualsASortOfTheWholeRow) {
  for (int seed = 0; seed < 10; ++seed) {
    const std::vector<float> logits = RandomLogits(300, seed);
    const std::vector<double> p = Softmax(logits, 1.0);
    std::vector<int> rank(p.size());
    for (size_t i = 0; i < rank.size(); ++i) rank[i] = static_cast<int>(i);
    std::sort(rank.begin(), rank.end(), [&](int a, int b) { return logits[a] > logits[b]; });
    std::vector<double> kept(p.size(), 0.0);
    double sum = 0;
    for (size_t i = 0; sum < 0.3; ++i) sum += kept[rank[i]] = p[rank[i]];
    for (double& x : kept) x /= sum;
    const SamplingRow row{.temperature = 1.0f, .top_p = 0.3f, .seed = 6};
    const auto degrees =
        static_cast<int>(std::count_if(kept.begin(), kept.end(), [](double x) { return x > 0; })) -
        1;
    EXPECT_LT(ChiSquare(Counts(logits, row, 2000), kept, 2000), Bound(std::max(degrees, 1)));
  }
}

TEST(SampleTokenTest, TopPCountsWhatTopKLeft) {
  // Of 4 equal tokens top_k leaves 2; half of those is one.
  const std::vector<int> counts =
      Counts({0, 0, 0, 0}, {.temperature = 1.0f, .top_k = 2, .top_p = 0.5f}, 200);
  EXPECT_EQ(counts, (std::vector<int>{200, 0, 0, 0}));
}

TEST(SampleTokenTest, LogitsThatAreNoNumbersHaveNoToken) {
  const std::vector<std::vector<float>> broken = {
      {kNan},
      {kNan, kNan, kNan},
      {kNan, 1.0f, 2.0f},
      {1.0f, 2.0f, kNan},
      {1.0f, -kNan, 2.0f},
      {kInfinity, 100.0f},
      {kInfinity, kNan},
      {-kInfinity},
      {-kInfinity, -kInfinity},
      {-kInfinity, kNan, -kInfinity},
  };
  for (const std::vector<float>& logits : broken) {
    for (const float temperature : {0.0f, 1.0f}) {
      const SamplingRow row{.temperature = temperature, .top_k = 2, .top_p = 0.5f};
      EXPECT_EQ(SampleToken(logits, row), kNoToken) << ::testing::PrintToString(logits);
    }
  }
}

TEST(SampleTokenTest, ATokenOfMinusInfinityIsNeverDrawn) {
  const std::vector<int> counts =
      Counts({-kInfinity, 1.0f, -kInfinity, 1.0f}, {.temperature = 1.0f, .top_p = 0.99f}, 200);
  EXPECT_EQ(counts[0] + counts[2], 0);
  EXPECT_EQ(SampleToken({-kInfinity, -3.0e38f}, {}), 1);
}

TEST(SampleTokenTest, TinyTemperatureIsGreedy) {
  const SamplingRow row{.temperature = std::numeric_limits<float>::denorm_min(), .seed = 3};
  EXPECT_EQ(SampleToken({1.0f, 1.5f, -2.0f}, row), 1);
}

TEST(SampleTest, NoTokenIsTheIdOfNone) { EXPECT_LT(kNoToken, 0); }

}  // namespace
}  // namespace phalanx::kernels
