// Products that take the norm of their inputs, on the CUDA backend with activations in bfloat16:
// they give the bits of a norm and a product, whether one kernel does both or two.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/testing/bfloat16_matrix.h"
#include "kernels/cuda/testing/cuda_variants.h"
#include "kernels/testing/random_linear.h"

namespace phalanx::kernels {
namespace {

constexpr float kEps = 1e-5f;
constexpr uint16_t kNan = 0x7fc0;

FloatMatrix RandomMatrix(int64_t rows, int64_t cols, int seed) {
  FloatMatrix matrix(rows, cols, 0.0f);
  const std::vector<float> random = RandomFloats(matrix.values().size(), seed);
  std::copy(random.begin(), random.end(), matrix.values().begin());
  return matrix;
}

BFloat16Matrix NanMatrix(int64_t rows, int64_t cols) {
  BFloat16Matrix matrix(rows, cols);
  std::fill(matrix.bits().begin(), matrix.bits().end(), kNan);
  return matrix;
}

class NormProductsTest : public testing::TestWithParam<CudaVariant> {
 protected:
  NormProductsTest() {
    GetParam().choose();
    backend_ = *MakeCudaBackend({.activations = DType::kBF16});
    stream_ = backend_->NewStream();
  }

  // Compares NormLinear with RmsNorm and Linear.
  void CheckLinear(const PackedLinear& linear, int64_t rows, Tensor bias) {
    FloatMatrix residual = RandomMatrix(rows, linear.in_features(), 1);
    FloatMatrix weight = RandomMatrix(1, linear.in_features(), 2);
    BFloat16Matrix normed(rows, linear.in_features());
    BFloat16Matrix expected = NanMatrix(rows, linear.out_features());
    backend_->RmsNorm(*stream_, residual.tensor(), weight.tensor(), kEps, normed.tensor());
    backend_->Linear(*stream_, normed.tensor(), linear, bias, expected.tensor());
    BFloat16Matrix memory = NanMatrix(rows, linear.in_features());
    BFloat16Matrix out = NanMatrix(rows, linear.out_features());
    backend_->NormLinear(*stream_, residual.tensor(), weight.tensor(), kEps, memory.tensor(),
                         linear, bias, out.tensor());
    ASSERT_TRUE(stream_->Synchronize().ok());
    EXPECT_EQ(out.bits(), expected.bits());
    EXPECT_EQ(std::count(out.bits().begin(), out.bits().end(), kNan), 0);
  }

  // The same for NormGatedLinear.
  void CheckGated(const PackedGatedLinear& gated, int64_t rows) {
    FloatMatrix residual = RandomMatrix(rows, gated.in_features(), 3);
    FloatMatrix weight = RandomMatrix(1, gated.in_features(), 4);
    BFloat16Matrix normed(rows, gated.in_features());
    BFloat16Matrix expected = NanMatrix(rows, gated.out_features());
    backend_->RmsNorm(*stream_, residual.tensor(), weight.tensor(), kEps, normed.tensor());
    backend_->GatedLinear(*stream_, normed.tensor(), gated, expected.tensor());
    BFloat16Matrix memory = NanMatrix(rows, gated.in_features());
    BFloat16Matrix out = NanMatrix(rows, gated.out_features());
    backend_->NormGatedLinear(*stream_, residual.tensor(), weight.tensor(), kEps, memory.tensor(),
                              gated, out.tensor());
    ASSERT_TRUE(stream_->Synchronize().ok());
    EXPECT_EQ(out.bits(), expected.bits());
    EXPECT_EQ(std::count(out.bits().begin(), out.bits().end(), kNan), 0);
  }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Stream> stream_;
};

INSTANTIATE_TEST_SUITE_P(Variants, NormProductsTest, testing::ValuesIn(CudaVariants()),
                         [](const auto& info) { return info.param.name; });

// Sizes that a type can have: one chunk, fewer chunks than warps, no whole number of chunks, and so
// many that a warp does not ask for all at once and that a norm takes a block more than one pass.
std::vector<int64_t> HiddenSizes(DType dtype) {
  switch (BlockElements(dtype)) {
    case 1:
      return {32, 41, 96, 2080};
    case 32:
      return {32, 96, 2080};
    default:
      return {256, 2304};
  }
}

TEST_P(NormProductsTest, HaveTheBitsOfANormAndAProductForAllTypesOfWeights) {
  for (const DType dtype : kAllDTypes) {
    for (const int64_t hidden : HiddenSizes(dtype)) {
      const RandomLinear first(dtype, hidden, 20, 5);
      const RandomLinear second(dtype, hidden, 20, 6);
      const auto linear = *backend_->PackLinear({first.source()});
      const auto gated = *backend_->PackGatedLinear(first.source(), second.source());
      // The emulator takes its time for long rows.
      const std::vector<int64_t> counts = hidden > 1000
                                              ? std::vector<int64_t>{1, 8, 9}
                                              : std::vector<int64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9};
      for (const int64_t rows : counts) {
        SCOPED_TRACE(testing::Message()
                     << DTypeName(dtype) << ", " << rows << " rows of " << hidden);
        CheckLinear(*linear, rows, {});
        CheckGated(*gated, rows);
      }
    }
  }
}

TEST_P(NormProductsTest, TakeABiasAndMatricesOfSeveralTypes) {
  const RandomLinear first(DType::kQ4_1, 96, 19, 7);
  const RandomLinear second(DType::kF16, 96, 24, 8);
  const auto linear = *backend_->PackLinear({first.source(), second.source()});
  const auto gated = *backend_->PackGatedLinear(RandomLinear(DType::kQ4_1, 96, 19, 7).source(),
                                                RandomLinear(DType::kBF16, 96, 19, 8).source());
  FloatMatrix bias = RandomMatrix(1, 43, 9);
  for (const int64_t rows : {1, 8, 9}) {
    SCOPED_TRACE(rows);
    CheckLinear(*linear, rows, bias.tensor());
    CheckGated(*gated, rows);
  }
}

// On any GPU: eight rows do not fit the shared memory of a block.
TEST_P(NormProductsTest, TakeRowsOfAnyLength) {
  const RandomLinear matrix(DType::kBF16, 16384, 16, 10);
  const auto linear = *backend_->PackLinear({matrix.source()});
  const auto gated = *backend_->PackGatedLinear(matrix.source(), matrix.source());
  for (const int64_t rows : {1, 8}) {
    SCOPED_TRACE(rows);
    CheckLinear(*linear, rows, {});
    CheckGated(*gated, rows);
  }
}

TEST_P(NormProductsTest, ReadTheResidualAsItIsWhenTheyRun) {
  const RandomLinear matrix(DType::kBF16, 64, 64, 11);
  const auto linear = *backend_->PackLinear({matrix.source()});
  FloatMatrix residual = RandomMatrix(2, 64, 12);
  FloatMatrix weight = RandomMatrix(1, 64, 13);
  BFloat16Matrix x(2, 64, 14);
  BFloat16Matrix normed(2, 64);
  BFloat16Matrix out(2, 64);
  BFloat16Matrix expected(2, 64);
  backend_->LinearAdd(*stream_, x.tensor(), *linear, residual.tensor());
  backend_->NormLinear(*stream_, residual.tensor(), weight.tensor(), kEps, normed.tensor(), *linear,
                       {}, out.tensor());
  ASSERT_TRUE(stream_->Synchronize().ok());
  backend_->RmsNorm(*stream_, residual.tensor(), weight.tensor(), kEps, normed.tensor());
  backend_->Linear(*stream_, normed.tensor(), *linear, {}, expected.tensor());
  ASSERT_TRUE(stream_->Synchronize().ok());
  EXPECT_EQ(out.bits(), expected.bits());
}

}  // namespace
}  // namespace phalanx::kernels
