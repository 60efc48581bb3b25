// LinearAdd and GatedLinear against Linear of the same backend, which linear_test.cc compares with
// the reference, and against the formulas of ops.h; NormLinear and NormGatedLinear against the ops
// that they stand for.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/bfloat16.h"
#include "kernels/dequantize.h"
#include "kernels/testing/op_suite.h"
#include "kernels/testing/random_linear.h"

namespace phalanx::kernels {
namespace {

// A matrix of chosen float32 weights.
class FloatLinear {
 public:
  explicit FloatLinear(const Matrix& weights) : in_features_(weights.cols()) {
    for (int64_t i = 0; i < weights.rows(); ++i) {
      rows_.push_back(reinterpret_cast<const std::byte*>(weights.row(i)));
    }
  }
  LinearSource source() const { return {DType::kF32, in_features_, rows_}; }

 private:
  const int64_t in_features_;
  std::vector<const std::byte*> rows_;
};

// Whose product with x has the columns [first, first + n) of x.
Matrix PickColumns(int64_t cols, int64_t first, int64_t n) {
  Matrix weights(n, cols);
  for (int64_t i = 0; i < n; ++i) weights.values()[i * cols + first + i] = 1.0f;
  return weights;
}

class FusedTest : public OpTest {
 protected:
  using OpTest::OpTest;

  Matrix Multiply(const RandomLinear& linear, Matrix& x) {
    const auto packed = Pack(*backend_, linear);
    Matrix out(x.rows(), packed->out_features());
    backend_->Linear(*stream_, x.tensor(), *packed, {}, out.tensor());
    return out;
  }
};

PHALANX_OP_SUITE(LinearAdd, FusedTest);
PHALANX_OP_SUITE(GatedLinear, FusedTest);
PHALANX_OP_SUITE(NormLinear, FusedTest);
PHALANX_OP_SUITE(NormGatedLinear, FusedTest);

TEST_P(LinearAddTest, HasTheBitsOfLinearAndAnAddition) {
  if (MayDependOnTheBatch()) GTEST_SKIP() << "only promised at the strict level";
  for (DType dtype : kAllDTypes) {
    for (int64_t out_features : {1, 37, 64}) {
      const RandomLinear linear(dtype, 512, out_features, 1);
      const auto packed = Pack(*backend_, linear);
      for (int64_t rows : {0, 1, 3, 33}) {
        Matrix x(rows, 512, 2);
        Matrix residual(rows, out_features, 3);
        Matrix expected = Multiply(linear, x);
        for (size_t i = 0; i < expected.values().size(); ++i) {
          expected.values()[i] = residual.values()[i] + expected.values()[i];
        }
        backend_->LinearAdd(*stream_, x.tensor(), *packed, residual.tensor());
        ASSERT_EQ(residual.values(), expected.values())
            << DTypeName(dtype) << ", " << rows << " rows of " << out_features;
      }
    }
  }
}

TEST_P(LinearAddTest, TakesSourcesOfDifferentTypes) {
  const RandomLinear first(DType::kQ4_1, 64, 11, 1);
  const RandomLinear second(DType::kF16, 64, 9, 2);
  const auto stacked = *backend_->PackLinear({first.source(), second.source()});
  Matrix x(7, 64, 3);
  Matrix residual(7, 20);
  backend_->LinearAdd(*stream_, x.tensor(), *stacked, residual.tensor());
  const Matrix upper = Multiply(first, x);
  const Matrix lower = Multiply(second, x);
  for (int64_t i = 0; i < 7; ++i) {
    std::vector<float> expected = upper.Row(i);
    for (const float value : lower.Row(i)) expected.push_back(value);
    EXPECT_EQ(residual.Row(i), expected);
  }
}

TEST_P(LinearAddTest, ARowIsTheSameBitsInAnyBatch) {
  if (MayDependOnTheBatch()) GTEST_SKIP() << "only promised at the strict level";
  const auto packed = Pack(*backend_, RandomLinear(DType::kQ8_0, 544, 45, 4));
  Matrix x(40, 544, 5);
  Matrix residual(40, 45, 6);
  const Matrix before = residual.Rows(0, 40);
  backend_->LinearAdd(*stream_, x.tensor(), *packed, residual.tensor());
  for (int64_t i = 0; i < 40; ++i) {
    Matrix row = x.Rows(i, 1);
    Matrix sum = before.Rows(i, 1);
    backend_->LinearAdd(*stream_, row.tensor(), *packed, sum.tensor());
    EXPECT_EQ(sum.Row(0), residual.Row(i));
  }
}

// 4 roundings for the exponential, one each for sum, quotient and product, and one for the result
// that it is compared with. Below about -87 a backend's exponential may stop growing, so the result
// may be some 1e-36 where the formula has less.
void ExpectGated(const Matrix& gate, const Matrix& up, const Matrix& out) {
  for (int64_t i = 0; i < out.rows(); ++i) {
    for (int64_t j = 0; j < out.cols(); ++j) {
      const double g = gate.row(i)[j];
      const double expected = g / (1.0 + std::exp(-g)) * up.row(i)[j];
      ASSERT_NEAR(out.row(i)[j], expected, std::abs(expected) * Roundings(8) + 1e-35)
          << "at " << i << ", " << j << " of " << out.rows() << " x " << out.cols();
    }
  }
}

TEST_P(GatedLinearTest, GatesTheProductsThatLinearMakes) {
  for (DType gate_type : kAllDTypes) {
    // The types may differ.
    const DType up_type = gate_type == DType::kQ4_1 ? DType::kF16 : gate_type;
    for (int64_t out_features : {1, 37, 160}) {
      const RandomLinear gate(gate_type, 512, out_features, 1);
      const RandomLinear up(up_type, 512, out_features, 2);
      const auto packed = *backend_->PackGatedLinear(gate.source(), up.source());
      EXPECT_EQ(packed->in_features(), 512);
      EXPECT_EQ(packed->out_features(), out_features);
      EXPECT_GT(packed->bytes(), 0u);
      for (int64_t rows : {0, 1, 3, 33}) {
        Matrix x(rows, 512, 3);
        Matrix out(rows, out_features);
        std::fill(out.values().begin(), out.values().end(), NAN);
        backend_->GatedLinear(*stream_, x.tensor(), *packed, out.tensor());
        ExpectGated(Multiply(gate, x), Multiply(up, x), out);
      }
    }
  }
}

TEST_P(GatedLinearTest, EqualsTheFormulaOverItsWholeRange) {
  for (int64_t n : {1, 9, 401}) {
    const Matrix pick_gate = PickColumns(2 * n, 0, n);
    const Matrix pick_up = PickColumns(2 * n, n, n);
    const auto packed =
        *backend_->PackGatedLinear(FloatLinear(pick_gate).source(), FloatLinear(pick_up).source());
    Matrix x(3, 2 * n, 6);
    Matrix gate(3, n);
    Matrix up(3, n);
    for (int64_t i = 0; i < 3; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        float* const row = x.values().data() + i * 2 * n;
        // Both are numbers that bfloat16 has too.
        row[j] = static_cast<float>((i * 100 + j) % 401) - 200.0f;
        row[n + j] = BFloat16ToFloat(FloatToBFloat16(row[n + j]));
        gate.values()[i * n + j] = row[j];
        up.values()[i * n + j] = row[n + j];
      }
    }
    Matrix out(3, n);
    backend_->GatedLinear(*stream_, x.tensor(), *packed, out.tensor());
    ExpectGated(gate, up, out);
  }
}

TEST_P(GatedLinearTest, KeepsNan) {
  Matrix gate(9, 18, 7);
  gate.values()[3 * 18] = std::numeric_limits<float>::quiet_NaN();
  const Matrix up(9, 18, 8);
  const auto packed =
      *backend_->PackGatedLinear(FloatLinear(gate).source(), FloatLinear(up).source());
  Matrix x(1, 18, 9);
  Matrix out(1, 9);
  backend_->GatedLinear(*stream_, x.tensor(), *packed, out.tensor());
  for (int i = 0; i < 9; ++i) EXPECT_EQ(std::isnan(out.row(0)[i]), i == 3);
}

TEST_P(GatedLinearTest, ARowIsTheSameBitsInAnyBatch) {
  if (MayDependOnTheBatch()) GTEST_SKIP() << "only promised at the strict level";
  const RandomLinear gate(DType::kQ4_1, 288, 77, 10);
  const RandomLinear up(DType::kQ4_1, 288, 77, 11);
  const auto packed = *backend_->PackGatedLinear(gate.source(), up.source());
  Matrix x(40, 288, 12);
  Matrix out(40, 77);
  backend_->GatedLinear(*stream_, x.tensor(), *packed, out.tensor());
  for (int64_t i = 0; i < 40; ++i) {
    Matrix row = x.Rows(i, 1);
    Matrix row_out(1, 77);
    backend_->GatedLinear(*stream_, row.tensor(), *packed, row_out.tensor());
    EXPECT_EQ(row_out.Row(0), out.Row(i));
  }
}

TEST_P(GatedLinearTest, RefusesMatricesOfDifferentShapes) {
  const RandomLinear gate(DType::kF32, 32, 8, 1);
  // Each test calls the op.
  const auto packed = *backend_->PackGatedLinear(gate.source(), gate.source());
  Matrix x(0, 32);
  Matrix out(0, 8);
  backend_->GatedLinear(*stream_, x.tensor(), *packed, out.tensor());
  for (const RandomLinear& up :
       {RandomLinear(DType::kF32, 32, 9, 2), RandomLinear(DType::kF32, 31, 8, 2)}) {
    EXPECT_EQ(backend_->PackGatedLinear(gate.source(), up.source()).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

// What it leaves in the memory for the norm is not looked at.
TEST_P(NormLinearTest, HasTheBitsOfANormAndAProduct) {
  for (const int64_t hidden : {32, 33, 512}) {
    const DType dtype = hidden % 32 == 0 ? DType::kQ8_0 : DType::kF16;
    const RandomLinear linear(dtype, hidden, 37, 1);
    const auto packed = Pack(*backend_, linear);
    Matrix weight(1, hidden, 2);
    for (const int64_t rows : {0, 1, 3, 33}) {
      for (const bool has_bias : {false, true}) {
        Matrix bias(1, 37, 3);
        const Tensor bias_or_none = has_bias ? bias.tensor() : Tensor{};
        Matrix residual(rows, hidden, 4);
        Matrix normed(rows, hidden);
        Matrix expected(rows, 37);
        backend_->RmsNorm(*stream_, residual.tensor(), weight.tensor(), 1e-5f, normed.tensor());
        backend_->Linear(*stream_, normed.tensor(), *packed, bias_or_none, expected.tensor());
        const Matrix before = residual.Rows(0, rows);
        Matrix memory(rows, hidden);
        Matrix out(rows, 37);
        backend_->NormLinear(*stream_, residual.tensor(), weight.tensor(), 1e-5f, memory.tensor(),
                             *packed, bias_or_none, out.tensor());
        EXPECT_EQ(out.values(), expected.values()) << rows << " rows of " << hidden;
        EXPECT_EQ(residual.values(), before.values());
      }
    }
  }
}

TEST_P(NormGatedLinearTest, HasTheBitsOfANormAndAProduct) {
  for (const int64_t hidden : {32, 33, 512}) {
    const DType dtype = hidden % 32 == 0 ? DType::kQ4_1 : DType::kF32;
    const RandomLinear gate(dtype, hidden, 37, 1);
    const RandomLinear up(dtype, hidden, 37, 2);
    const auto packed = *backend_->PackGatedLinear(gate.source(), up.source());
    Matrix weight(1, hidden, 3);
    for (const int64_t rows : {0, 1, 3, 33}) {
      Matrix residual(rows, hidden, 4);
      Matrix normed(rows, hidden);
      Matrix expected(rows, 37);
      backend_->RmsNorm(*stream_, residual.tensor(), weight.tensor(), 1e-5f, normed.tensor());
      backend_->GatedLinear(*stream_, normed.tensor(), *packed, expected.tensor());
      Matrix memory(rows, hidden);
      Matrix out(rows, 37);
      backend_->NormGatedLinear(*stream_, residual.tensor(), weight.tensor(), 1e-5f,
                                memory.tensor(), *packed, out.tensor());
      EXPECT_EQ(out.values(), expected.values()) << rows << " rows of " << hidden;
    }
  }
}

}  // namespace
}  // namespace phalanx::kernels
