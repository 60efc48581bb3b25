#include "kernels/cpu/float_format.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/testing/aligned_vector.h"
#include "kernels/testing/random_linear.h"

namespace phalanx::kernels {
namespace {

class FloatFormatTest : public testing::TestWithParam<DType> {
 protected:
  const FloatFormat format_{/*kernel=*/nullptr};
};

TEST_P(FloatFormatTest, UnpacksToTheDequantizedWeights) {
  const int64_t third = std::max(32, BlockElements(GetParam()));
  for (int64_t out_features : {1, 8, 13}) {
    const RandomLinear linear(GetParam(), 3 * third, out_features, 1);
    PackedMatrix matrix = {.format = &format_,
                           .dtype = GetParam(),
                           .in_features = 3 * third,
                           .out_features = out_features};
    AlignedVector<std::byte> data(matrix.bytes());
    matrix.data = data.data();
    format_.Pack(matrix, linear.source().rows, 0, matrix.groups(), data.data());
    for (int64_t row = 0; row < out_features; ++row) {
      const std::vector<float> expected = linear.Row(row);
      std::vector<float> out(3 * third);
      format_.UnpackRow(matrix, row, out.data());
      EXPECT_EQ(out, expected);
      std::vector<float> panel(2 * third * kGroupRows);
      UnpackGroup(matrix, row / kGroupRows, third, 3 * third, panel.data());
      for (int64_t k = 0; k < 2 * third; ++k) {
        EXPECT_EQ(panel[k * kGroupRows + row % kGroupRows], expected[third + k]);
      }
    }
  }
}

TEST_P(FloatFormatTest, TakesAboutTheSizeOfTheFile) {
  const PackedMatrix matrix = {
      .format = &format_, .dtype = GetParam(), .in_features = 768, .out_features = 64};
  const size_t file_bytes = RowBytes(GetParam(), 768) * 64;
  EXPECT_GE(matrix.bytes(), file_bytes);
  EXPECT_LE(matrix.bytes(), file_bytes * 9 / 8);
}

INSTANTIATE_TEST_SUITE_P(AllTypes, FloatFormatTest, testing::ValuesIn(kAllDTypes),
                         [](const auto& info) { return std::string(DTypeName(info.param)); });

}  // namespace
}  // namespace phalanx::kernels
