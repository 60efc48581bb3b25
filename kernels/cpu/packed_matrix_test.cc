#include "kernels/cpu/packed_matrix.h"

#include <vector>

#include "gtest/gtest.h"
#include "kernels/testing/random_linear.h"

namespace phalanx::kernels {
namespace {

class PackedMatrixTest : public testing::TestWithParam<DType> {};

TEST_P(PackedMatrixTest, UnpacksToTheDequantizedWeights) {
  for (int64_t out_features : {1, 8, 13}) {
    const RandomLinear linear(GetParam(), 96, out_features, 1);
    PackedMatrix matrix = {.dtype = GetParam(), .in_features = 96, .out_features = out_features};
    std::vector<std::byte> data(matrix.bytes());
    matrix.data = data.data();
    PackGroups(matrix, linear.source().rows, 0, matrix.groups(), data.data());
    for (int64_t row = 0; row < out_features; ++row) {
      const std::vector<float> expected = linear.Row(row);
      std::vector<float> out(96);
      UnpackRow(matrix, row, out.data());
      EXPECT_EQ(out, expected);
      std::vector<float> panel(64 * kGroupRows);
      UnpackGroup(matrix, row / kGroupRows, 32, 96, panel.data());
      for (int64_t k = 0; k < 64; ++k) {
        EXPECT_EQ(panel[k * kGroupRows + row % kGroupRows], expected[32 + k]);
      }
    }
  }
}

TEST_P(PackedMatrixTest, TakesAboutTheSizeOfTheFile) {
  const PackedMatrix matrix = {.dtype = GetParam(), .in_features = 576, .out_features = 64};
  const size_t file_bytes = RowBytes(GetParam(), 576) * 64;
  EXPECT_GE(matrix.bytes(), file_bytes);
  EXPECT_LE(matrix.bytes(), file_bytes * 9 / 8);
}

INSTANTIATE_TEST_SUITE_P(AllTypes, PackedMatrixTest,
                         testing::Values(DType::kF32, DType::kF16, DType::kBF16, DType::kQ4_0,
                                         DType::kQ4_1, DType::kQ8_0));

}  // namespace
}  // namespace phalanx::kernels
