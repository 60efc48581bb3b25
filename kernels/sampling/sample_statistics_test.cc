// Draws against the distribution that each transform leaves, computed here from its usual
// definition: in floating point, with a sort of the whole row. Chi-square over a million draws of
// each.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/sampling/adjust.h"
#include "kernels/sampling/sample.h"

namespace phalanx::kernels {
namespace {

constexpr int kDraws = 1000000;

// Keeps the first tokens of `order` whose probabilities sum to `part` of all, and scales them to 1.
void KeepFirst(const std::vector<int>& order, double part, std::vector<double>* p) {
  const double all = std::accumulate(p->begin(), p->end(), 0.0);
  std::vector<double> kept(p->size());
  double sum = 0;
  for (const int i : order) {
    if (sum >= part * all) break;
    sum += kept[i] = (*p)[i];
  }
  for (double& x : kept) x /= sum;
  *p = kept;
}

// Tokens by `measure`, highest first, ties by id.
template <typename Measure>
std::vector<int> Order(size_t size, Measure measure) {
  std::vector<int> order(size);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return measure(a) > measure(b); });
  return order;
}

std::vector<double> Expected(const std::vector<float>& logits, const SamplingRow& row) {
  const size_t size = logits.size();
  std::vector<double> p(size);
  for (size_t i = 0; i < size; ++i) p[i] = std::exp(logits[i] / double{row.temperature});
  const std::vector<int> by_logit = Order(size, [&](int i) { return p[i]; });
  KeepFirst(by_logit, 1.0, &p);
  if (row.top_k > 0) {
    for (size_t rank = row.top_k; rank < size; ++rank) p[by_logit[rank]] = 0;
    KeepFirst(by_logit, 1.0, &p);
  }
  if (row.top_p < 1) KeepFirst(by_logit, row.top_p, &p);
  const double most = *std::max_element(p.begin(), p.end());
  for (double& x : p) x = x < row.min_p * most ? 0 : x;
  KeepFirst(by_logit, 1.0, &p);
  if (row.typical_p < 1) {
    double entropy = 0;
    for (const double x : p) entropy -= x > 0 ? x * std::log(x) : 0;
    const auto closeness = [&](int i) {
      return p[i] > 0 ? -std::fabs(-std::log(p[i]) - entropy) : -1e9;
    };
    KeepFirst(Order(size, closeness), row.typical_p, &p);
  }
  return p;
}

struct Case {
  std::string name;
  SamplingRow row;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class SampleStatisticsTest : public ::testing::TestWithParam<Case> {};

TEST_P(SampleStatisticsTest, AMillionDrawsFollowTheDistribution) {
  std::mt19937 random(91);
  std::normal_distribution<float> normal(0.0f, 1.5f);
  std::vector<float> logits(24);
  for (float& logit : logits) logit = normal(random);
  SamplingRow row = GetParam().row;
  row.seed = 20261129;
  const std::vector<double> p = Expected(logits, row);
  std::vector<int> counts(logits.size());
  for (row.position = 0; row.position < kDraws; ++row.position) ++counts[SampleToken(logits, row)];
  double chi_square = 0;
  int degrees = -1;
  for (size_t i = 0; i < p.size(); ++i) {
    if (p[i] == 0) {
      EXPECT_EQ(counts[i], 0) << "token " << i << " was cut off";
      continue;
    }
    const double expected = p[i] * kDraws;
    chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
    ++degrees;
  }
  ASSERT_GT(degrees, 0);
  // The mean of chi-square is `degrees`, its variance 2 * degrees. The seed is fixed.
  EXPECT_LT(chi_square, degrees + 4 * std::sqrt(2.0 * degrees)) << degrees << " degrees of freedom";
}

INSTANTIATE_TEST_SUITE_P(
    Transforms, SampleStatisticsTest,
    ::testing::Values(Case{"temperature", {.temperature = 0.7f}},
                      Case{"hot", {.temperature = 1.9f}},
                      Case{"top_k", {.temperature = 1.0f, .top_k = 7}},
                      Case{"top_p", {.temperature = 1.0f, .top_p = 0.8f}},
                      Case{"min_p", {.temperature = 1.0f, .min_p = 0.08f}},
                      Case{"typical_p", {.temperature = 1.0f, .typical_p = 0.7f}},
                      Case{"top_k_top_p", {.temperature = 1.3f, .top_k = 12, .top_p = 0.7f}},
                      Case{"top_p_min_p", {.temperature = 1.3f, .top_p = 0.95f, .min_p = 0.05f}},
                      Case{"min_p_typical_p",
                           {.temperature = 1.1f, .min_p = 0.03f, .typical_p = 0.8f}},
                      Case{"all",
                           {.temperature = 1.5f,
                            .top_k = 18,
                            .top_p = 0.97f,
                            .min_p = 0.02f,
                            .typical_p = 0.85f}}),
    [](const auto& info) { return info.param.name; });

// The penalties and the bias are a change of the logits; what is drawn follows the softmax of
// these.
TEST(AdjustedStatisticsTest, AMillionDrawsFollowTheChangedLogits) {
  std::vector<float> logits = {1.0f, -0.5f, 0.25f, 2.0f, 1.5f, 0.0f};
  const std::vector<LogitEdit> edits = {{.token = 0, .bias = 1.5f},
                                        {.token = 1, .count = 0, .seen = 1},
                                        {.token = 3, .count = 2, .seen = 1},
                                        {.token = 4, .count = 1, .bias = -0.25f, .seen = 1}};
  const std::vector<double> changed = {
      2.5, -0.5 * 1.25, 0.25, 2.0 / 1.25 - 0.5 - 2 * 0.125, 1.25 / 1.25 - 0.5 - 0.125, 0.0};
  SamplingRow row = {.temperature = 1.0f,
                     .repetition_penalty = 1.25f,
                     .presence_penalty = 0.5f,
                     .frequency_penalty = 0.125f,
                     .edits_end = 4,
                     .seed = 4};
  SamplingBatch batch;
  batch.edits = edits.data();
  AdjustRow(batch, row, 0, absl::MakeSpan(logits));
  std::vector<int> counts(logits.size());
  for (row.position = 0; row.position < kDraws; ++row.position) ++counts[SampleToken(logits, row)];
  double sum = 0;
  for (const double l : changed) sum += std::exp(l);
  double chi_square = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double expected = std::exp(changed[i]) / sum * kDraws;
    chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
  }
  EXPECT_LT(chi_square, 5 + 4 * std::sqrt(10.0));
}

}  // namespace
}  // namespace phalanx::kernels
