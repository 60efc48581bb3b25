// Norms, activation, gathering and sampling against the reference.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/reference/reference_backend.h"
#include "kernels/testing/backend_fixture.h"
#include "kernels/testing/step_builder.h"

namespace phalanx::kernels {
namespace {

class ElementwiseTest : public CpuBackendTest {
 protected:
  const std::unique_ptr<Backend> reference_ = MakeReferenceBackend();
};

void ExpectRelative(const Matrix& out, const Matrix& expected, double bound, double floor = 0) {
  for (int64_t i = 0; i < out.rows(); ++i) {
    for (int64_t j = 0; j < out.cols(); ++j) {
      const double e = expected.row(i)[j];
      ASSERT_NEAR(out.row(i)[j], e, std::abs(e) * bound + floor) << "at " << i << ", " << j;
    }
  }
}

// Sum of n squares: n roundings, halved by the root; then the mean, eps, root, inverse and two
// products.
double RmsNormBound(int64_t n) { return Roundings(n / 2.0 + 7); }

TEST_P(ElementwiseTest, RmsNormEqualsTheReference) {
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

TEST_P(ElementwiseTest, AddRmsNormUpdatesTheResidual) {
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

TEST_P(ElementwiseTest, SiluMulEqualsTheReferenceOverItsWholeRange) {
  for (int64_t n : {1, 9, 1536}) {
    Matrix gate_up(3, 2 * n, 6);
    for (int64_t i = 0; i < n; ++i) {
      gate_up.values()[i] = static_cast<float>(i % 401) - 200.0f;
      gate_up.values()[2 * n + i] *= 20.0f;
    }
    Matrix out(3, n);
    Matrix expected(3, n);
    backend_->SiluMul(*stream_, gate_up.tensor(), out.tensor());
    reference_->SiluMul(*stream_, gate_up.tensor(), expected.tensor());
    // The exponential to 4 roundings, sum, quotient, product, and the reference's own. Below about
    // -87 the exponential stops to grow, and the result is that small.
    ExpectRelative(out, expected, Roundings(8), 1e-35);
  }
}

TEST_P(ElementwiseTest, SiluMulKeepsNan) {
  Matrix gate_up(1, 18, 7);
  gate_up.values()[3] = std::numeric_limits<float>::quiet_NaN();
  Matrix out(1, 9);
  backend_->SiluMul(*stream_, gate_up.tensor(), out.tensor());
  for (int i = 0; i < 9; ++i) EXPECT_EQ(std::isnan(out.row(0)[i]), i == 3);
}

TEST_P(ElementwiseTest, ARowIsTheSameBitsInAnyBatch) {
  Matrix x(40, 577, 8);
  Matrix weight(1, 577, 9);
  Matrix out(40, 577);
  backend_->RmsNorm(*stream_, x.tensor(), weight.tensor(), 1e-5f, out.tensor());
  Matrix gate_up(40, 2 * 77, 10);
  Matrix activated(40, 77);
  backend_->SiluMul(*stream_, gate_up.tensor(), activated.tensor());
  for (int64_t i = 0; i < 40; ++i) {
    Matrix row(1, 577);
    row.values() = x.Row(i);
    backend_->RmsNorm(*stream_, row.tensor(), weight.tensor(), 1e-5f, row.tensor());
    EXPECT_EQ(row.values(), out.Row(i));
    Matrix one(1, 2 * 77);
    one.values() = gate_up.Row(i);
    Matrix one_out(1, 77);
    backend_->SiluMul(*stream_, one.tensor(), one_out.tensor());
    EXPECT_EQ(one_out.values(), activated.Row(i));
  }
}

TEST_P(ElementwiseTest, GathersTheRowsThatAreWanted) {
  StepBuilder step(1);
  step.Add(0, 5, {0});
  for (int32_t t : {4, 0, 4}) step.WantLogits(t, {});
  Matrix x(5, 11, 11);
  Matrix out(3, 11);
  backend_->GatherLogitRows(*stream_, step.batch(), x.tensor(), out.tensor());
  EXPECT_EQ(out.Row(0), x.Row(4));
  EXPECT_EQ(out.Row(1), x.Row(0));
  EXPECT_EQ(out.Row(2), x.Row(4));
}

TEST_P(ElementwiseTest, SamplesTheTokensOfTheReference) {
  StepBuilder step(2);
  step.Add(0, 20, {0, 1});
  for (int i = 0; i < 20; ++i) {
    step.WantLogits(i, {.temperature = static_cast<float>(i % 4) * 0.5f,
                        .top_k = i % 3 * 10,
                        .top_p = i % 2 == 0 ? 1.0f : 0.8f,
                        .seed = 17,
                        .position = i});
  }
  Matrix logits(20, 1001, 12);
  const std::vector<float> before = logits.values();
  std::vector<int32_t> tokens(20);
  std::vector<int32_t> expected(20);
  backend_->Sample(*stream_, step.batch(), logits.tensor(), tokens.data());
  reference_->Sample(*stream_, step.batch(), logits.tensor(), expected.data());
  EXPECT_EQ(tokens, expected);
  EXPECT_EQ(logits.values(), before);
}

TEST_P(ElementwiseTest, CopiesAndAllocates) {
  auto buffer = backend_->Allocate(100);
  ASSERT_TRUE(buffer.ok()) << buffer.status();
  const std::vector<float> from = {1, 2, 3};
  std::vector<float> to(3);
  backend_->CopyToBackend(*stream_, (*buffer)->data(), from.data(), 12);
  backend_->CopyToHost(*stream_, to.data(), (*buffer)->data(), 12);
  EXPECT_TRUE(stream_->Synchronize().ok());
  EXPECT_EQ(to, from);
}

INSTANTIATE_TEST_SUITE_P(Cpu, ElementwiseTest, AllCpuOptions(), CpuOptionsName);

TEST(MakeCpuBackendTest, RefusesFewerThanOneThread) {
  EXPECT_EQ(MakeCpuBackend({.num_threads = 0}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(MakeCpuBackendTest, DescribesItself) {
  const auto backend =
      MakeCpuBackend({.num_threads = 2, .instructions = CpuInstructions::kPortable});
  ASSERT_TRUE(backend.ok()) << backend.status();
  EXPECT_EQ((*backend)->Describe(), "cpu portable, 2 threads");
}

}  // namespace
}  // namespace phalanx::kernels
