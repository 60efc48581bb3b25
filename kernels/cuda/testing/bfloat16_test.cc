// The CUDA backend with activations in bfloat16: against the reference with the
// same types. What is stored in bfloat16 may differ by one rounding of it.
#include "kernels/bfloat16.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/testing/bfloat16_matrix.h"
#include "kernels/cuda/testing/cuda_variants.h"
#include "kernels/dequantize.h"
#include "kernels/reference/reference_backend.h"
#include "kernels/testing/aligned_vector.h"
#include "kernels/testing/random_linear.h"
#include "kernels/testing/step_builder.h"

namespace phalanx::kernels {
namespace {

// Half the distance from 1 to the next number.
constexpr double kStored = 0x1p-8;
constexpr double kSummed = 0x1p-24;

class BFloat16Test : public testing::TestWithParam<CudaVariant> {
 protected:
  BFloat16Test() {
    GetParam().choose();
    backend_ = *MakeCudaBackend({.activations = DType::kBF16});
    stream_ = backend_->NewStream();
    reference_stream_ = reference_->NewStream();
    EXPECT_TRUE(backend_
                    ->Reserve({.max_tokens = 256,
                               .max_seqs = 16,
                               .local_q_heads = 8,
                               .head_dim = 128,
                               .max_blocks_per_seq = 64})
                    .ok());
  }
  void Synchronize() { ASSERT_TRUE(stream_->Synchronize().ok()); }

  // The sum of the sizes of the terms of an output.
  static double Size(const std::vector<float>& weights, const BFloat16Matrix& x, int64_t row) {
    double size = 0;
    for (size_t i = 0; i < weights.size(); ++i) size += std::abs(double{weights[i]} * x.at(row, i));
    return size;
  }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Stream> stream_;
  const std::unique_ptr<Backend> reference_ =
      MakeTypedReferenceBackend({.activations = DType::kBF16});
  std::unique_ptr<Stream> reference_stream_;
};

INSTANTIATE_TEST_SUITE_P(Variants, BFloat16Test, testing::ValuesIn(CudaVariants()),
                         [](const auto& info) { return info.param.name; });

// Few rows and many, outputs that fill no tile, inputs that fill no range.
TEST_P(BFloat16Test, ProductsAreThoseOfTheReferenceForAllTypesOfWeights) {
  for (const DType dtype : kAllDTypes) {
    for (const int64_t outputs : {16, 37}) {
      const int64_t inputs = BlockElements(dtype) == 256 ? 256 : 352;
      const RandomLinear linear(dtype, inputs, outputs, 1);
      const auto packed = *backend_->PackLinear({linear.source()});
      const auto truth = *reference_->PackLinear({linear.source()});
      for (const int64_t rows : {1, 9, 20, 64, 70}) {
        BFloat16Matrix x(rows, inputs, 2);
        FloatMatrix out(rows, outputs, NAN);
        FloatMatrix expected(rows, outputs, NAN);
        backend_->Linear(*stream_, x.tensor(), *packed, {}, out.tensor());
        reference_->Linear(*reference_stream_, x.tensor(), *truth, {}, expected.tensor());
        Synchronize();
        for (int64_t o = 0; o < outputs; ++o) {
          const std::vector<float> weights = linear.Row(o);
          for (int64_t i = 0; i < rows; ++i) {
            ASSERT_NEAR(out.at(i, o), expected.at(i, o),
                        static_cast<double>(inputs) * kSummed * Size(weights, x, i))
                << DTypeName(dtype) << ", row " << i << " of " << rows << ", output " << o;
          }
        }
      }
    }
  }
}

TEST_P(BFloat16Test, ARowHasTheSameBitsWhateverTheOtherRowsAre) {
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kQ4_K, DType::kQ8_0}) {
    const RandomLinear linear(dtype, 512, 48, 3);
    const auto packed = *backend_->PackLinear({linear.source()});
    const auto gated = *backend_->PackGatedLinear(linear.source(), linear.source());
    BFloat16Matrix x(200, 512, 4);
    BFloat16Matrix all(200, 48);
    BFloat16Matrix all_gated(200, 48);
    backend_->Linear(*stream_, x.tensor(), *packed, {}, all.tensor());
    backend_->GatedLinear(*stream_, x.tensor(), *gated, all_gated.tensor());
    for (const int64_t rows : {1, 8, 16, 33, 64, 65}) {
      BFloat16Matrix some(200, 48);
      BFloat16Matrix some_gated(200, 48);
      backend_->Linear(*stream_, x.FirstRows(rows), *packed, {}, some.FirstRows(rows));
      backend_->GatedLinear(*stream_, x.FirstRows(rows), *gated, some_gated.FirstRows(rows));
      Synchronize();
      const auto end = rows * 48;
      EXPECT_TRUE(std::equal(some.bits().begin(), some.bits().begin() + end, all.bits().begin()))
          << DTypeName(dtype) << ", " << rows << " rows";
      EXPECT_TRUE(std::equal(some_gated.bits().begin(), some_gated.bits().begin() + end,
                             all_gated.bits().begin()))
          << DTypeName(dtype) << ", " << rows << " rows";
    }
  }
}

TEST_P(BFloat16Test, LinearTakesABiasAndStoresBFloat16) {
  const RandomLinear linear(DType::kBF16, 64, 24, 5);
  const auto packed = *backend_->PackLinear({linear.source()});
  const auto truth = *reference_->PackLinear({linear.source()});
  for (const int64_t rows : {3, 80}) {
    BFloat16Matrix x(rows, 64, 6);
    FloatMatrix bias(1, 24, 0.5f);
    BFloat16Matrix out(rows, 24);
    BFloat16Matrix expected(rows, 24);
    backend_->Linear(*stream_, x.tensor(), *packed, bias.tensor(), out.tensor());
    reference_->Linear(*reference_stream_, x.tensor(), *truth, bias.tensor(), expected.tensor());
    Synchronize();
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t o = 0; o < 24; ++o) {
        const double size = 0.5 + Size(linear.Row(o), x, i);
        ASSERT_NEAR(out.at(i, o), expected.at(i, o),
                    2 * kStored * std::abs(expected.at(i, o)) + 65 * kSummed * size);
      }
    }
  }
}

TEST_P(BFloat16Test, LinearAddAddsToTheResidualInFloat32) {
  const RandomLinear linear(DType::kQ4_0, 96, 40, 7);
  const auto packed = *backend_->PackLinear({linear.source()});
  const auto truth = *reference_->PackLinear({linear.source()});
  for (const int64_t rows : {5, 100}) {
    BFloat16Matrix x(rows, 96, 8);
    FloatMatrix residual(rows, 40, 3.0f);
    FloatMatrix expected(rows, 40, 3.0f);
    backend_->LinearAdd(*stream_, x.tensor(), *packed, residual.tensor());
    reference_->LinearAdd(*reference_stream_, x.tensor(), *truth, expected.tensor());
    Synchronize();
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t o = 0; o < 40; ++o) {
        ASSERT_NEAR(residual.at(i, o), expected.at(i, o),
                    97 * kSummed * (3 + Size(linear.Row(o), x, i)));
      }
    }
  }
}

TEST_P(BFloat16Test, GatedLinearIsThatOfTheReference) {
  for (const DType dtype : {DType::kBF16, DType::kQ4_1}) {
    const RandomLinear gate(dtype, 64, 40, 9);
    const RandomLinear up(dtype, 64, 40, 10);
    const auto packed = *backend_->PackGatedLinear(gate.source(), up.source());
    const auto truth = *reference_->PackGatedLinear(gate.source(), up.source());
    for (const int64_t rows : {1, 12, 130}) {
      BFloat16Matrix x(rows, 64, 11);
      BFloat16Matrix out(rows, 40);
      BFloat16Matrix expected(rows, 40);
      backend_->GatedLinear(*stream_, x.tensor(), *packed, out.tensor());
      reference_->GatedLinear(*reference_stream_, x.tensor(), *truth, expected.tensor());
      Synchronize();
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t o = 0; o < 40; ++o) {
          // The slope of silu is below 1.1, and silu(x) not above |x|.
          const double g = Size(gate.Row(o), x, i);
          const double u = Size(up.Row(o), x, i);
          ASSERT_NEAR(out.at(i, o), expected.at(i, o),
                      2 * kStored * std::abs(expected.at(i, o)) + 3 * 66 * kSummed * g * u);
        }
      }
    }
  }
}

TEST_P(BFloat16Test, NormsAreThoseOfTheReference) {
  for (const int64_t cols : {64, 50}) {
    BFloat16Matrix delta(3, cols, 12);
    FloatMatrix residual(3, cols, 0.25f);
    FloatMatrix expected_residual(3, cols, 0.25f);
    FloatMatrix weight(1, cols, 1.5f);
    BFloat16Matrix out(3, cols);
    BFloat16Matrix expected(3, cols);
    backend_->AddRmsNorm(*stream_, residual.tensor(), delta.tensor(), weight.tensor(), 1e-5f,
                         out.tensor());
    reference_->AddRmsNorm(*reference_stream_, expected_residual.tensor(), delta.tensor(),
                           weight.tensor(), 1e-5f, expected.tensor());
    Synchronize();
    EXPECT_EQ(residual.values(), expected_residual.values());
    for (int64_t i = 0; i < 3; ++i) {
      for (int64_t j = 0; j < cols; ++j) {
        ASSERT_NEAR(out.at(i, j), expected.at(i, j), 2 * kStored * std::abs(expected.at(i, j)));
      }
    }
  }
}

}  // namespace
}  // namespace phalanx::kernels
