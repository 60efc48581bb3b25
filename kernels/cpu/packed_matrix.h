// The layout of weights in the CPU backend: outputs in groups of eight, one for each lane of a
// 256-bit vector, so that one broadcast activation meets eight weights.
#ifndef PHALANX_KERNELS_CPU_PACKED_MATRIX_H_
#define PHALANX_KERNELS_CPU_PACKED_MATRIX_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "kernels/dtype.h"

namespace phalanx::kernels {

// Outputs in a group; the last group of a matrix is filled up with zeros.
inline constexpr int kGroupRows = 8;

// Inputs that one chain of multiply-adds runs over. The rule for every product in this backend:
// a chain starts at zero and takes the inputs of one panel in ascending order; the sums of the
// panels are added in ascending order; the bias comes last. It keeps errors low, fits the caches,
// and being the same for any number of rows makes products batch invariant.
inline constexpr int kPanelInputs = 256;

// Bytes that kGroupRows x BlockElements(dtype) weights take. Blocks of a group follow each other
// along the inputs. In a block:
//   kF32, kF16, kBF16   the weights of the eight outputs for one input.
//   kQ4_1               f16 d[8], f16 m[8], then words
//   kQ4_0, kQ8_0        f32 d[8], then words
// A word row is u32 w[8], one for each output. With b bits a quant, there are b word rows and 32 /
// b quants in a word; quant p (from the low end) of word row i belongs to input p * b + i of the
// block. Quants are unsigned: those of kQ8_0 are stored with 128 added.
constexpr size_t PackedBlockBytes(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return 32;
    case DType::kF16:
    case DType::kBF16:
      return 16;
    case DType::kQ4_0:
    case DType::kQ4_1:
      return 32 + 4 * 32;
    case DType::kQ8_0:
      return 32 + 8 * 32;
    default:
      return 0;
  }
}

// A matrix in that layout; does not own it.
struct PackedMatrix {
  const std::byte* data = nullptr;  // Aligned to 64 bytes.
  DType dtype = DType::kF32;
  int64_t in_features = 0;
  int64_t out_features = 0;

  int64_t groups() const { return (out_features + kGroupRows - 1) / kGroupRows; }
  size_t group_bytes() const {
    return static_cast<size_t>(in_features / BlockElements(dtype)) * PackedBlockBytes(dtype);
  }
  size_t bytes() const { return static_cast<size_t>(groups()) * group_bytes(); }
};

// Packs the groups [group_begin, group_end) of `matrix` to `data`, where matrix.data will point.
// `rows` are all outputs, as in LinearSource. `data` is zero before.
void PackGroups(const PackedMatrix& matrix, absl::Span<const std::byte* const> rows,
                int64_t group_begin, int64_t group_end, std::byte* data);

// Writes the weights of the inputs [begin, end) of one group to out, [end - begin, kGroupRows],
// with the bits that Dequantize gives. `begin` and `end` lie at block borders.
void UnpackGroup(const PackedMatrix& matrix, int64_t group, int64_t begin, int64_t end, float* out);

// Writes the in_features weights of one output, in order.
void UnpackRow(const PackedMatrix& matrix, int64_t row, float* out);

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_PACKED_MATRIX_H_
