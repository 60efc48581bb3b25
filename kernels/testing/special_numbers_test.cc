// NaN, infinities and subnormal numbers in what ops are given: a number that is none must not turn
// into one on its way to the logits, where sampling sees it and ends the request, and must not
// reach what it has no part in.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/sampling/sample.h"
#include "kernels/testing/attention_run.h"
#include "kernels/testing/op_suite.h"
#include "kernels/testing/random_linear.h"
#include "kernels/testing/step_builder.h"

namespace phalanx::kernels {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kSubnormal = 1e-41f;

class SpecialNumbersTest : public BackendTest {
 protected:
  Matrix Multiply(const PackedLinear& weights, Matrix& x) {
    Matrix out(x.rows(), weights.out_features());
    backend_->Linear(*stream_, x.tensor(), weights, {}, out.tensor());
    return out;
  }

  Matrix Normed(Backend& backend, Matrix& x, Matrix& weight) {
    Matrix out(x.rows(), x.cols());
    backend.RmsNorm(*stream_, x.tensor(), weight.tensor(), 1e-5f, out.tensor());
    return out;
  }
};

PHALANX_ON_ALL_BACKENDS(SpecialNumbersTest);

bool NoneIsFinite(const std::vector<float>& values) {
  return std::none_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

TEST_P(SpecialNumbersTest, ARowOfAProductWithAnInputThatIsNoNumberHasNoneAndTheOthersHave) {
  for (const DType dtype : kAllDTypes) {
    const RandomLinear linear(dtype, 512, 37, 1);
    const auto packed = Pack(*backend_, linear);
    for (const int64_t rows : {1, 3, 12}) {
      Matrix x(rows, 512, 2);
      const Matrix clean = Multiply(*packed, x);
      for (const float bad : {kNan, -kNan, kInfinity, -kInfinity}) {
        for (const int64_t at : {0, 31, 300, 511}) {
          Matrix broken = x.Rows(0, rows);
          broken.values()[(rows - 1) * 512 + at] = bad;
          const Matrix out = Multiply(*packed, broken);
          EXPECT_TRUE(NoneIsFinite(out.Row(rows - 1)))
              << DTypeName(dtype) << ", " << bad << " at " << at << " of row " << rows - 1;
          for (int64_t i = 0; i + 1 < rows; ++i) ASSERT_EQ(out.Row(i), clean.Row(i));
        }
      }
    }
  }
}

// They may be taken for zeros, but no more.
TEST_P(SpecialNumbersTest, SubnormalInputsOfAProductGiveNearlyNothing) {
  for (const DType dtype : kAllDTypes) {
    const RandomLinear linear(dtype, 256, 9, 3);
    const auto packed = Pack(*backend_, linear);
    Matrix x(2, 256);
    std::fill(x.values().begin(), x.values().end(), kSubnormal);
    const Matrix out = Multiply(*packed, x);
    for (int64_t o = 0; o < out.cols(); ++o) {
      double size = 0;
      for (const float w : linear.Row(o)) size += std::abs(double{w}) * kSubnormal;
      // Each of the sums is rounded to a multiple of the smallest number.
      for (int64_t i = 0; i < 2; ++i) EXPECT_LE(std::abs(out.row(i)[o]), size + 512 * 0x1p-149);
    }
  }
}

TEST_P(SpecialNumbersTest, AGateThatIsNoNumberHasNoProduct) {
  const Matrix ones = [] {
    Matrix column(5, 1);
    column.values() = {1.0f, -1.0f, 0.5f, -2.0f, 1.0f};
    return column;
  }();
  std::vector<const std::byte*> rows;
  for (int64_t i = 0; i < 5; ++i) rows.push_back(reinterpret_cast<const std::byte*>(ones.row(i)));
  const LinearSource source = {DType::kF32, 1, rows};
  const auto packed = *backend_->PackGatedLinear(source, source);
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    Matrix x(2, 1);
    x.values() = {bad, 1.0f};
    Matrix out(2, 5);
    backend_->GatedLinear(*stream_, x.tensor(), *packed, out.tensor());
    EXPECT_TRUE(NoneIsFinite(out.Row(0))) << bad;
    for (const float value : out.Row(1)) EXPECT_TRUE(std::isfinite(value));
  }
}

TEST_P(SpecialNumbersTest, NormsOfSpecialNumbersAreThoseOfTheReference) {
  for (const int64_t n : {9, 64, 512}) {
    Matrix weight(1, n, 4);
    Matrix x(7, n, 5);
    float* const values = x.values().data();
    values[0 * n + n - 1] = kNan;
    values[1 * n] = kInfinity;
    values[2 * n + n / 2] = -kInfinity;
    std::fill_n(values + 3 * n, n, 0.0f);
    std::fill_n(values + 4 * n, n, -kSubnormal);
    // Their squares are 0 in float32.
    std::fill_n(values + 5 * n, n, 1e-30f);
    const Matrix out = Normed(*backend_, x, weight);
    const Matrix expected = Normed(*reference_, x, weight);
    for (int64_t i = 0; i < x.rows(); ++i) {
      for (int64_t j = 0; j < n; ++j) {
        const float e = expected.row(i)[j];
        const float o = out.row(i)[j];
        ASSERT_EQ(std::isnan(o), std::isnan(e)) << "row " << i << " of " << n << ", " << j;
        if (std::isnan(e)) continue;
        // As in elementwise_test.cc, and a rounding of a subnormal number before and after the
        // weight.
        const double floor = (1 + std::abs(double{weight.row(0)[j]})) * 0x1p-149;
        ASSERT_NEAR(o, e, std::abs(e) * Roundings(n / 2.0 + 7) + floor) << "row " << i;
      }
    }
    EXPECT_TRUE(NoneIsFinite(out.Row(0)));
  }
}

// Two heads of each KV head, two sequences; what is broken is in the first sequence's token kBroken
// and, of keys and values, in the first KV head.
constexpr Heads kHeads = {4, 2, 16, 16};
constexpr int kBroken = 21;
constexpr int kTokens = 40;

// Attention over both sequences in one step, and then one token more of each.
std::vector<float> Attend(Backend& backend, KvDType dtype, std::vector<Sequence>& sequences,
                          int num_blocks) {
  AttentionRun run(backend, kHeads, num_blocks, dtype, Turns::kQuarters);
  std::vector<float> all;
  for (const std::vector<Chunk>& step :
       {std::vector<Chunk>{{&sequences[0], 0, kTokens - 1}, {&sequences[1], 0, kTokens - 1}},
        std::vector<Chunk>{{&sequences[0], kTokens - 1, 1}, {&sequences[1], kTokens - 1, 1}}}) {
    const Matrix out = run.Step(step);
    all.insert(all.end(), out.values().begin(), out.values().end());
  }
  return all;
}

// Which part of a row of qkv is broken.
enum class Part { kQuery, kKey, kValue };

// The rows of `Attend` are those of the first step, sequence after sequence, then those of the
// second one.
TEST_P(SpecialNumbersTest, AttentionToWhatIsNoNumberIsNoneAndAllOtherIs) {
  const int cols = kHeads.q_heads * kHeads.head_dim;
  for (const KvDType dtype : GetParam().kv_dtypes) {
    for (const Part part : {Part::kQuery, Part::kKey, Part::kValue}) {
      std::vector<Sequence> sequences;
      for (const int seed : {1, 2}) sequences.emplace_back(kHeads, kTokens, seed);
      const int num_blocks = DealBlocks(sequences);
      const std::vector<float> clean = Attend(*backend_, dtype, sequences, num_blocks);
      const int head = part == Part::kQuery ? 0
                       : part == Part::kKey ? kHeads.q_heads
                                            : kHeads.q_heads + kHeads.kv_heads;
      sequences[0].qkv.values()[kBroken * kHeads.qkv_cols() + head * kHeads.head_dim + 3] = kNan;
      const std::vector<float> out = Attend(*backend_, dtype, sequences, num_blocks);
      for (int row = 0; row < 2 * kTokens; ++row) {
        const bool is_second_step = row >= 2 * (kTokens - 1);
        const int sequence = is_second_step ? row - 2 * (kTokens - 1) : row / (kTokens - 1);
        const int token = is_second_step ? kTokens - 1 : row % (kTokens - 1);
        for (int h = 0; h < kHeads.q_heads; ++h) {
          const bool sees = sequence == 0 && (part == Part::kQuery ? token == kBroken && h == 0
                                                                   : token >= kBroken && h < 2);
          const auto begin = row * cols + h * kHeads.head_dim;
          const std::vector<float> of_head(out.begin() + begin,
                                           out.begin() + begin + kHeads.head_dim);
          if (!sees) {
            ASSERT_TRUE(std::equal(of_head.begin(), of_head.end(), clean.begin() + begin))
                << KvDTypeName(dtype) << ", token " << token << ", head " << h;
          } else if (part == Part::kValue) {
            ASSERT_TRUE(std::isnan(of_head[3])) << KvDTypeName(dtype) << ", token " << token;
          } else {
            ASSERT_TRUE(NoneIsFinite(of_head)) << KvDTypeName(dtype) << ", token " << token;
          }
        }
      }
    }
  }
}

// Long rows, of which threads have parts, and many short ones.
TEST_P(SpecialNumbersTest, RowsOfLogitsWithoutAFiniteMaximumHaveNoTokenAndNoProbability) {
  for (const int64_t vocab : {1, 40, 2000}) {
    // What there is instead of the logit in the middle; the last two leave a token.
    const std::vector<float> bad = {kNan, -kNan, kInfinity};
    const int64_t num_rows = static_cast<int64_t>(bad.size()) + 3;
    Matrix logits(num_rows, vocab, 6);
    const auto row = [&](int64_t i) { return logits.values().data() + i * vocab; };
    for (size_t i = 0; i < bad.size(); ++i) row(static_cast<int64_t>(i))[vocab / 2] = bad[i];
    std::fill_n(row(num_rows - 3), vocab, -kInfinity);
    std::fill_n(row(num_rows - 2), vocab, -kInfinity);
    row(num_rows - 2)[vocab - 1] = -1e38f;
    const std::vector<SamplingRow> ways = {{},
                                           {.temperature = 0.7f, .seed = 1},
                                           {.temperature = 2.0f, .top_k = 5, .seed = 2},
                                           {.temperature = 1.0f, .top_p = 0.5f, .seed = 3}};
    for (const SamplingRow& way : ways) {
      StepBuilder step(1);
      step.Add(0, static_cast<int>(num_rows), {0});
      for (int i = 0; i < num_rows; ++i) step.WantLogits(i, way);
      std::vector<int32_t> tokens(num_rows);
      backend_->Sample(*stream_, step.sampling(), logits.tensor(), tokens.data());
      for (int64_t i = 0; i < num_rows - 2; ++i) EXPECT_EQ(tokens[i], kNoToken) << "row " << i;
      EXPECT_EQ(tokens[num_rows - 2], vocab - 1);
      EXPECT_GE(tokens[num_rows - 1], 0);
    }
    const std::vector<int32_t> targets(num_rows, static_cast<int32_t>(vocab - 1));
    std::vector<float> log_probs(num_rows);
    backend_->TokenLogProbs(*stream_, logits.tensor(), targets.data(), log_probs.data());
    for (int64_t i = 0; i < num_rows - 2; ++i) {
      EXPECT_FALSE(std::isfinite(log_probs[i])) << "row " << i;
    }
    EXPECT_EQ(log_probs[num_rows - 2], 0.0f);
    EXPECT_TRUE(std::isfinite(log_probs[num_rows - 1]));
  }
}

}  // namespace
}  // namespace phalanx::kernels
