// Products in float32 with weights of any type: outputs in groups of eight, one for each lane of a
// 256-bit vector. A kernel spreads one activation over all lanes and multiplies it with the weights
// of eight outputs at once.
#ifndef PHALANX_KERNELS_CPU_FLOAT_FORMAT_H_
#define PHALANX_KERNELS_CPU_FLOAT_FORMAT_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "kernels/cpu/linear_format.h"
#include "kernels/dtype.h"
#include "kernels/quant_block.h"

namespace phalanx::kernels {

// Outputs in a group; the last group of a matrix is filled up with zeros.
inline constexpr int kGroupRows = 8;

// Inputs of a panel. The rule for every product of this format: an output's sum over one panel
// starts at zero and takes the inputs in ascending order; the sums of the panels are added in
// ascending order; the bias comes last. Sums of sums keep rounding errors low, and panels fit the
// caches. Since the order is the same for any number of rows, a row's result does not depend on the
// others.
inline constexpr int kPanelInputs = 256;

// Inputs whose codes lie together in a packed block of a quantized type.
inline constexpr int kUnitInputs = 32;

// The codes of a unit are cut into two planes: the low 2, 4 or 8 bits of each code, and the bits
// above those, if any. Their widths divide 32, so a word holds a whole number of them.
constexpr int LowPlaneBits(DType dtype) {
  const int bits = CodeBits(dtype);
  return bits >= 8 ? 8 : bits >= 4 ? 4 : 2;
}
constexpr int HighPlaneBits(DType dtype) { return CodeBits(dtype) - LowPlaneBits(dtype); }

// Bytes before the units of a packed block.
constexpr size_t PackedScaleBytes(DType dtype) {
  const int sub_blocks = BlockElements(dtype) / SubBlockElements(dtype);
  if (sub_blocks == 1) return 32;
  const bool own_minimums = HasMinimum(dtype) && dtype != DType::kQ2_K;
  return 32 + static_cast<size_t>(sub_blocks) * kGroupRows * (own_minimums ? 2 : 1);
}

// Bytes of a packed block, which holds kGroupRows x BlockElements(dtype) weights. The blocks of a
// group follow each other along the inputs. In a block:
//   kF32, kF16, kBF16   the weights of the eight outputs for one input.
//   quantized types     scales, then units. What they hold is QuantBlock's.
// Scales are f16 d[8], f16 m[8] in types with a minimum and f32 d[8] in others; then, in the K
// types, i8 scales[8] for each sub-block, and u8 minimums[8] for each in kQ4_K and kQ5_K; kQ2_K
// has its minimums in the high nibbles of its scales.
// A unit is its low plane, then its high plane. A plane of b bits is b word rows, u32 w[8], one for
// each output. Input k of the unit has its bits in word row k % b, from bit k / b * b on.
constexpr size_t PackedBlockBytes(DType dtype) {
  if (!IsQuantized(dtype)) return kGroupRows * BlockBytes(dtype);
  return PackedScaleBytes(dtype) +
         static_cast<size_t>(BlockElements(dtype)) / 8 * CodeBits(dtype) * kGroupRows;
}

// Bytes of a group of outputs.
constexpr size_t FloatGroupBytes(DType dtype, int64_t in_features) {
  return static_cast<size_t>(in_features / BlockElements(dtype)) * PackedBlockBytes(dtype);
}

// Writes the weights of the inputs [begin, end) of one group to out, [end - begin, kGroupRows],
// with the bits that Dequantize gives. `begin` and `end` lie at block borders.
void UnpackGroup(const PackedMatrix& matrix, int64_t group, int64_t begin, int64_t end, float* out);

class FloatFormat final : public LinearFormat {
 public:
  // LinearFormat::Run for some instructions.
  using Kernel = void (*)(const LinearTask& task, int64_t group_begin, int64_t group_end);
  explicit FloatFormat(Kernel kernel) : kernel_(kernel) {}

  int group_rows() const override { return kGroupRows; }
  size_t GroupBytes(DType dtype, int64_t in_features) const override {
    return FloatGroupBytes(dtype, in_features);
  }
  void Pack(const PackedMatrix& matrix, absl::Span<const std::byte* const> rows,
            int64_t group_begin, int64_t group_end, std::byte* data) const override;
  void UnpackRow(const PackedMatrix& matrix, int64_t row, float* out) const override;

  size_t PreparedBytes(int64_t rows, int64_t in_features) const override { return 0; }
  int64_t PrepareParts(int64_t rows) const override { return 0; }
  void Prepare(const LinearTask& task, int64_t begin, int64_t end, std::byte* to) const override {}

  void Run(const LinearTask& task, int64_t group_begin, int64_t group_end) const override {
    kernel_(task, group_begin, group_end);
  }

 private:
  const Kernel kernel_;
};

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_FLOAT_FORMAT_H_
