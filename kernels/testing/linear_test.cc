// Linear layers and embedding against the reference, and batch invariance to the bit.
#include <algorithm>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/bfloat16.h"
#include "kernels/cpu/float_format.h"
#include "kernels/dequantize.h"
#include "kernels/testing/op_suite.h"
#include "kernels/testing/random_linear.h"
#include "kernels/testing/step_builder.h"

namespace phalanx::kernels {
namespace {

// `inputs` rounded up to whole blocks.
int64_t WholeBlocks(DType dtype, int64_t inputs) {
  const int64_t block = BlockElements(dtype);
  return (inputs + block - 1) / block * block;
}

// What rounding the inputs may change in a product. The factor above one half leaves room for the
// roundings of scales and sums, also of the larger numbers of which weights with a minimum are
// made.
double RoundingOfInputs(const std::vector<float>& weights, const float* x) {
  double change = 0;
  for (size_t first = 0; first < weights.size(); first += 32) {
    double largest = 0;
    double sum = 0;
    for (size_t j = first; j < first + 32; ++j) {
      largest = std::max(largest, std::abs(double{x[j]}));
      sum += std::abs(double{weights[j]});
    }
    change += 0.51 / 127 * largest * sum;
  }
  return change;
}

class ProductTest : public OpTest {
 protected:
  using OpTest::OpTest;

  Matrix Multiply(Backend& backend, const PackedLinear& weights, Matrix& x,
                  Matrix* bias = nullptr) {
    Matrix out(x.rows(), weights.out_features());
    std::fill(out.values().begin(), out.values().end(), NAN);
    backend.Linear(*stream_, x.tensor(), weights, bias == nullptr ? Tensor{} : bias->tensor(),
                   out.tensor());
    return out;
  }

  // Both sides have the same float32 weights and the reference sums in double, so an output differs
  // by the roundings of its own sum alone: one for each input of a panel, one for each panel, one
  // for the bias, and one for the reference's result. Each is relative to the sum of the sizes of
  // the terms. Where inputs are rounded to 8 bits, each may be half a step off, of which 127 make
  // the largest of its block. Where all is rounded to bfloat16, each factor may be off by a part in
  // 256, and a product of all inputs is one sum.
  void ExpectNear(const RandomLinear& weights, const Matrix& x, const Matrix& out,
                  const Matrix& expected, const Matrix* bias) {
    const int64_t k = x.cols();
    const bool is_bf16 = GetParam().rounding == ProductRounding::kBf16;
    const double bound = is_bf16
                             ? (1 + 0x1p-8) * (1 + 0x1p-8) * (1 + Roundings(k + 3)) - 1
                             : Roundings(std::min<double>(k, kPanelInputs) + k / kPanelInputs + 3);
    for (int64_t o = 0; o < out.cols(); ++o) {
      const std::vector<float> w = weights.Row(o);
      for (int64_t i = 0; i < x.rows(); ++i) {
        double size = bias == nullptr ? 0 : std::abs(bias->row(0)[o]);
        for (int64_t j = 0; j < k; ++j) size += std::abs(double{w[j]} * x.row(i)[j]);
        double rounded = 0;
        if (GetParam().rounding == ProductRounding::kInt8 && IsQuantized(weights.dtype())) {
          rounded = RoundingOfInputs(w, x.row(i));
        }
        ASSERT_NEAR(out.row(i)[o], expected.row(i)[o], bound * size + rounded)
            << "row " << i << " of " << x.rows() << ", output " << o << " of " << out.cols();
      }
    }
  }
};

PHALANX_OP_SUITE(Linear, ProductTest);
PHALANX_OP_SUITE(Embed, OpTest);

TEST_P(LinearTest, EqualsTheReferenceForAllTypesAndShapes) {
  for (DType dtype : kAllDTypes) {
    for (int64_t inputs : {32, 288, 576}) {
      const int64_t in_features = WholeBlocks(dtype, inputs);
      for (int64_t out_features : {1, 8, 37, 70}) {
        const RandomLinear linear(dtype, in_features, out_features, 1);
        const auto packed = Pack(*backend_, linear);
        const auto truth = Pack(*reference_, linear);
        EXPECT_EQ(packed->in_features(), in_features);
        EXPECT_EQ(packed->out_features(), out_features);
        for (int64_t rows : {1, 2, 5, 9, 31}) {
          Matrix x(rows, in_features, 2);
          ExpectNear(linear, x, Multiply(*backend_, *packed, x), Multiply(*reference_, *truth, x),
                     nullptr);
        }
      }
    }
  }
}

TEST_P(LinearTest, FloatTypesTakeAnyNumberOfInputs) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (int64_t in_features : {1, 7, 257}) {
      const RandomLinear linear(dtype, in_features, 13, 3);
      const auto packed = Pack(*backend_, linear);
      const auto truth = Pack(*reference_, linear);
      for (int64_t rows : {1, 3, 40}) {
        Matrix x(rows, in_features, 4);
        ExpectNear(linear, x, Multiply(*backend_, *packed, x), Multiply(*reference_, *truth, x),
                   nullptr);
      }
    }
  }
}

TEST_P(LinearTest, AddsTheBias) {
  const RandomLinear linear(DType::kQ4_1, 288, 21, 5);
  const auto packed = Pack(*backend_, linear);
  const auto truth = Pack(*reference_, linear);
  Matrix bias(1, 21, 6);
  for (int64_t rows : {1, 7, 33}) {
    Matrix x(rows, 288, 7);
    ExpectNear(linear, x, Multiply(*backend_, *packed, x, &bias),
               Multiply(*reference_, *truth, x, &bias), &bias);
  }
}

TEST_P(LinearTest, StacksSourcesOfDifferentTypes) {
  const RandomLinear first(DType::kQ4_1, 64, 11, 1);
  const RandomLinear second(DType::kQ4_1, 64, 6, 2);
  const RandomLinear third(DType::kF16, 64, 9, 3);
  const auto stacked = backend_->PackLinear({first.source(), second.source(), third.source()});
  ASSERT_TRUE(stacked.ok()) << stacked.status();
  ASSERT_EQ((*stacked)->out_features(), 26);
  for (int64_t rows : {1, 30}) {
    Matrix x(rows, 64, 4);
    const Matrix out = Multiply(*backend_, **stacked, x);
    int64_t at = 0;
    for (const RandomLinear* part : {&first, &second, &third}) {
      const Matrix alone = Multiply(*backend_, *Pack(*backend_, *part), x);
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t o = 0; o < alone.cols(); ++o) {
          ASSERT_EQ(out.row(i)[at + o], alone.row(i)[o]);
        }
      }
      at += alone.cols();
    }
  }
}

TEST_P(LinearTest, ARowIsTheSameBitsInAnyBatch) {
  if (MayDependOnTheBatch()) GTEST_SKIP() << "only promised at the strict level";
  for (DType dtype : kAllDTypes) {
    const int64_t in_features = WholeBlocks(dtype, 544);
    const RandomLinear linear(dtype, in_features, 45, 8);
    const auto packed = Pack(*backend_, linear);
    Matrix all(100, in_features, 9);
    const Matrix expected = [&] {
      Matrix out(100, 45);
      for (int64_t i = 0; i < 100; ++i) {
        Matrix x = all.Rows(i, 1);
        const Matrix y = Multiply(*backend_, *packed, x);
        std::copy_n(y.row(0), 45, out.values().begin() + i * 45);
      }
      return out;
    }();
    for (int64_t rows : {2, 3, 4, 5, 6, 7, 8, 9, 16, 23, 24, 25, 29, 100}) {
      Matrix x = all.Rows(0, rows);
      const Matrix out = Multiply(*backend_, *packed, x);
      for (int64_t i = 0; i < rows; ++i) {
        ASSERT_EQ(out.Row(i), expected.Row(i)) << "row " << i << " of " << rows;
      }
    }
  }
}

TEST_P(LinearTest, NoRowsIsNoWork) {
  Matrix x(0, 32);
  EXPECT_EQ(Multiply(*backend_, *Pack(*backend_, RandomLinear(DType::kF32, 32, 8, 1)), x).rows(),
            0);
}

// As a backend keeps them.
std::vector<float> Kept(std::vector<float> weights, DType dtype, ProductRounding rounding) {
  if (rounding != ProductRounding::kBf16 || IsQuantized(dtype)) return weights;
  for (float& w : weights) w = BFloat16ToFloat(FloatToBFloat16(w));
  return weights;
}

TEST_P(EmbedTest, TakesItsPartOfTheVocabulary) {
  for (DType dtype : kAllDTypes) {
    const int64_t hidden = WholeBlocks(dtype, 64);
    const RandomLinear linear(dtype, hidden, 20, 12);
    const auto table = Pack(*backend_, linear);
    const auto truth = Pack(*reference_, linear);
    StepBuilder step(1);
    step.Add(0, 6, {0});
    step.token_ids() = {100, 119, 120, 99, 0, 107};
    Matrix out(6, hidden, 1);
    Matrix expected(6, hidden, 2);
    backend_->Embed(*stream_, step.batch(), *table, 100, out.tensor());
    reference_->Embed(*stream_, step.batch(), *truth, 100, expected.tensor());
    for (int64_t i = 0; i < 6; ++i) {
      EXPECT_EQ(out.Row(i), Kept(expected.Row(i), dtype, GetParam().rounding));
    }
    EXPECT_EQ(out.Row(1), Kept(linear.Row(19), dtype, GetParam().rounding));
    EXPECT_EQ(out.Row(2), std::vector<float>(hidden, 0.0f));
  }
}

TEST_P(EmbedTest, TakesATokenThatTheHostDoesNotKnowFromItsSlot) {
  const RandomLinear linear(DType::kF32, 8, 20, 12);
  const auto table = Pack(*backend_, linear);
  StepBuilder step(1);
  step.Add(0, 1, {0});
  step.Add(4, 1, {1});
  step.token_ids() = {kLastToken, 3};
  const StepBatch batch = step.batch();
  // The first sequence has slot 1.
  step.last_tokens() = {5, 17};
  Matrix out(2, 8, 1);
  backend_->Embed(*stream_, batch, *table, 0, out.tensor());
  EXPECT_EQ(out.Row(0), Kept(linear.Row(17), DType::kF32, GetParam().rounding));
  EXPECT_EQ(out.Row(1), Kept(linear.Row(3), DType::kF32, GetParam().rounding));
}

}  // namespace
}  // namespace phalanx::kernels
