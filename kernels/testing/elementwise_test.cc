// Norms against the reference.
#include <algorithm>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/testing/op_suite.h"

namespace phalanx::kernels {
namespace {

PHALANX_OP_SUITE(RmsNorm, OpTest);
PHALANX_OP_SUITE(AddRmsNorm, OpTest);

void ExpectRelative(const Matrix& out, const Matrix& expected, double bound, double floor = 0) {
  for (int64_t i = 0; i < out.rows(); ++i) {
    for (int64_t j = 0; j < out.cols(); ++j) {
      const double e = expected.row(i)[j];
      ASSERT_NEAR(out.row(i)[j], e, std::abs(e) * bound + floor) << "at " << i << ", " << j;
    }
  }
}

// The sum of n squares has n roundings, of which the root leaves half. The mean, adding eps, the
// root, the inverse and two products add one each, and the reference's result the seventh.
double RmsNormBound(int64_t n) { return Roundings(n / 2.0 + 7); }

TEST_P(RmsNormTest, EqualsTheReferenceAlsoInPlace) {
  for (int64_t n : {1, 7, 8, 33, 576}) {
    for (int64_t rows : {0, 1, 3, 40}) {
      Matrix x(rows, n, 1);
      Matrix weight(1, n, 2);
      Matrix out(rows, n);
      Matrix expected(rows, n);
      backend_->RmsNorm(*stream_, x.tensor(), weight.tensor(), 1e-5f, out.tensor());
      reference_->RmsNorm(*stream_, x.tensor(), weight.tensor(), 1e-5f, expected.tensor());
      ExpectRelative(out, expected, RmsNormBound(n));
      backend_->RmsNorm(*stream_, x.tensor(), weight.tensor(), 1e-5f, x.tensor());
      EXPECT_EQ(x.values(), out.values());
    }
  }
}

TEST_P(AddRmsNormTest, UpdatesTheResidual) {
  for (int64_t n : {1, 13, 576}) {
    for (int64_t rows : {1, 5, 33}) {
      Matrix residual(rows, n, 3);
      Matrix residual_truth(rows, n, 3);
      Matrix delta(rows, n, 4);
      Matrix weight(1, n, 5);
      Matrix expected(rows, n);
      reference_->AddRmsNorm(*stream_, residual_truth.tensor(), delta.tensor(), weight.tensor(),
                             1e-6f, expected.tensor());
      // The output may be the delta.
      backend_->AddRmsNorm(*stream_, residual.tensor(), delta.tensor(), weight.tensor(), 1e-6f,
                           delta.tensor());
      EXPECT_EQ(residual.values(), residual_truth.values());
      ExpectRelative(delta, expected, RmsNormBound(n));
    }
  }
}

TEST_P(RmsNormTest, ARowIsTheSameBitsInAnyBatch) {
  Matrix x(40, 577, 8);
  Matrix weight(1, 577, 9);
  Matrix out(40, 577);
  backend_->RmsNorm(*stream_, x.tensor(), weight.tensor(), 1e-5f, out.tensor());
  for (int64_t i = 0; i < 40; ++i) {
    Matrix row = x.Rows(i, 1);
    backend_->RmsNorm(*stream_, row.tensor(), weight.tensor(), 1e-5f, row.tensor());
    EXPECT_EQ(row.Row(0), out.Row(i));
  }
}

TEST_P(AddRmsNormTest, ARowIsTheSameBitsInAnyBatch) {
  Matrix residual(40, 577, 8);
  Matrix delta(40, 577, 9);
  Matrix weight(1, 577, 10);
  Matrix out(40, 577);
  Matrix residual_of_all = residual.Rows(0, 40);
  backend_->AddRmsNorm(*stream_, residual_of_all.tensor(), delta.tensor(), weight.tensor(), 1e-5f,
                       out.tensor());
  for (int64_t i = 0; i < 40; ++i) {
    Matrix row = residual.Rows(i, 1);
    Matrix row_delta = delta.Rows(i, 1);
    Matrix row_out(1, 577);
    backend_->AddRmsNorm(*stream_, row.tensor(), row_delta.tensor(), weight.tensor(), 1e-5f,
                         row_out.tensor());
    EXPECT_EQ(row.Row(0), residual_of_all.Row(i));
    EXPECT_EQ(row_out.Row(0), out.Row(i));
  }
}

}  // namespace
}  // namespace phalanx::kernels
