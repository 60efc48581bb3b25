#include "kernels/linear_source.h"

#include <array>

#include "gtest/gtest.h"

namespace phalanx::kernels {
namespace {

constexpr std::array<const std::byte*, 3> kRows = {};

LinearSource Source(DType dtype, int64_t in_features, size_t rows) {
  return {dtype, in_features, absl::MakeConstSpan(kRows.data(), rows)};
}

absl::StatusCode CodeOf(std::initializer_list<LinearSource> sources) {
  return CheckLinearSources(absl::MakeConstSpan(sources.begin(), sources.size())).status().code();
}

TEST(CheckLinearSourcesTest, StacksOutputs) {
  const std::array<LinearSource, 2> sources = {Source(DType::kQ4_1, 64, 2),
                                               Source(DType::kF32, 64, 3)};
  const auto shape = CheckLinearSources(sources);
  ASSERT_TRUE(shape.ok()) << shape.status();
  EXPECT_EQ(shape->in_features, 64);
  EXPECT_EQ(shape->out_features, 5);
}

TEST(CheckLinearSourcesTest, RefusesWhatIsNoLayer) {
  EXPECT_EQ(CodeOf({}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CodeOf({Source(DType::kF32, 0, 1)}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CodeOf({Source(DType::kF32, 8, 0)}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CodeOf({Source(DType::kF32, 8, 1), Source(DType::kF32, 9, 1)}),
            absl::StatusCode::kInvalidArgument);
}

TEST(CheckGatedSourcesTest, WantsTwoMatricesOfOneShape) {
  const auto shape = CheckGatedSources(Source(DType::kF32, 64, 3), Source(DType::kQ4_1, 64, 3));
  ASSERT_TRUE(shape.ok()) << shape.status();
  EXPECT_EQ(shape->in_features, 64);
  EXPECT_EQ(shape->out_features, 3);
  EXPECT_EQ(
      CheckGatedSources(Source(DType::kF32, 64, 3), Source(DType::kF32, 64, 2)).status().message(),
      "gated layer of 3 outputs of the gate beside 2");
  EXPECT_EQ(
      CheckGatedSources(Source(DType::kF32, 64, 3), Source(DType::kF32, 32, 3)).status().code(),
      absl::StatusCode::kInvalidArgument);
}

TEST(CheckLinearSourcesTest, RefusesABrokenBlockAndSaysWhich) {
  EXPECT_EQ(CodeOf({Source(DType::kQ8_0, 33, 1)}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CheckLinearSources({Source(DType::kQ4_K, 384, 1)}).status().message(),
            "linear layer of 384 inputs of type Q4_K, whose blocks of 256 cannot be cut");
  EXPECT_EQ(CodeOf({Source(DType::kF16, 33, 1)}), absl::StatusCode::kOk);
}

}  // namespace
}  // namespace phalanx::kernels
