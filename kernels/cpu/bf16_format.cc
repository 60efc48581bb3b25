#include "kernels/cpu/bf16_format.h"

#include <algorithm>

#include "kernels/bfloat16.h"
#include "kernels/cpu/bf16_layout.h"
#include "kernels/cpu/packed_values.h"
#include "kernels/dequantize.h"

namespace phalanx::kernels {
namespace {

using bf16::kBlockInputs;
using bf16::kGroupRows;

// Weight k of a row of a float type, as it lies in a file.
uint16_t Rounded(DType dtype, const std::byte* row, int64_t k) {
  switch (dtype) {
    case DType::kF32:
      return FloatToBFloat16(LoadAt<float>(row, k));
    case DType::kF16:
      return FloatToBFloat16(HalfToFloat(LoadAt<uint16_t>(row, k)));
    default:
      return LoadAt<uint16_t>(row, k);
  }
}

// Puts the row of one output into its lane of a group.
void PackRow(const PackedMatrix& matrix, const std::byte* row, int lane, std::byte* group) {
  for (int64_t k = 0; k < matrix.in_features; k += 2) {
    uint32_t pair = Rounded(matrix.dtype, row, k);
    if (k + 1 < matrix.in_features) pair |= uint32_t{Rounded(matrix.dtype, row, k + 1)} << 16;
    StoreAt(group, k / 2 * kGroupRows + lane, pair);
  }
}

}  // namespace

int Bf16Format::group_rows() const { return kGroupRows; }

size_t Bf16Format::GroupBytes(DType dtype, int64_t in_features) const {
  return bf16::GroupBytes(dtype, in_features);
}

void Bf16Format::Pack(const PackedMatrix& matrix, absl::Span<const std::byte* const> rows,
                      int64_t group_begin, int64_t group_end, std::byte* data) const {
  if (IsQuantized(matrix.dtype)) {
    codes_.Pack(matrix, rows, group_begin, group_end, data);
    return;
  }
  const size_t group_bytes = bf16::GroupBytes(matrix.dtype, matrix.in_features);
  const int64_t row_end = std::min(group_end * kGroupRows, matrix.out_features);
  for (int64_t row = group_begin * kGroupRows; row < row_end; ++row) {
    PackRow(matrix, rows[row], static_cast<int>(row % kGroupRows),
            data + row / kGroupRows * group_bytes);
  }
}

void Bf16Format::UnpackRow(const PackedMatrix& matrix, int64_t row, float* out) const {
  if (IsQuantized(matrix.dtype)) {
    codes_.UnpackRow(matrix, row, out);
    return;
  }
  const std::byte* const group =
      matrix.data + row / kGroupRows * bf16::GroupBytes(matrix.dtype, matrix.in_features);
  for (int64_t k = 0; k < matrix.in_features; ++k) {
    const auto pair = LoadAt<uint32_t>(group, k / 2 * kGroupRows + row % kGroupRows);
    out[k] = BFloat16ToFloat(static_cast<uint16_t>(k % 2 == 0 ? pair : pair >> 16));
  }
}

size_t Bf16Format::PreparedBytes(int64_t rows, int64_t in_features) const {
  return static_cast<size_t>(rows * bf16::Blocks(in_features) * bf16::kRowBytes);
}

int64_t Bf16Format::PrepareParts(int64_t rows) const {
  return bf16::TileLayout{0, kernels_.tile_rows}.Tiles(rows);
}

void Bf16Format::Prepare(const LinearTask& task, int64_t begin, int64_t end, std::byte* to) const {
  const int64_t in_features = task.weights->in_features;
  const bf16::TileLayout layout = {in_features, kernels_.tile_rows};
  for (int64_t tile = begin; tile < end; ++tile) {
    const int64_t n = layout.TileRows(task.rows, tile);
    auto* const data = reinterpret_cast<uint16_t*>(to + layout.TileOffset(tile));
    for (int64_t r = 0; r < n; ++r) {
      const float* const x = task.x + (tile * kernels_.tile_rows + r) * in_features;
      for (int64_t b = 0; b < bf16::Blocks(in_features); ++b) {
        uint16_t* const block = data + (b * n + r) * kBlockInputs;
        const int64_t count = std::min<int64_t>(kBlockInputs, in_features - b * kBlockInputs);
        kernels_.round(x + b * kBlockInputs, count, block);
        std::fill(block + count, block + kBlockInputs, uint16_t{0});
      }
    }
  }
}

}  // namespace phalanx::kernels
