// The format for products of bfloat16; bf16_layout.h has its arithmetic and its layout.
#ifndef PHALANX_KERNELS_CPU_BF16_FORMAT_H_
#define PHALANX_KERNELS_CPU_BF16_FORMAT_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "kernels/cpu/int8_format.h"
#include "kernels/cpu/linear_format.h"

namespace phalanx::kernels {

// For all types. UnpackRow gives weights of float types as they are kept, rounded to bfloat16, and
// those of quantized types with the bits that Dequantize gives.
class Bf16Format final : public LinearFormat {
 public:
  // The kernels of some instructions.
  struct Kernels {
    // What adds up the products, for Backend::Arithmetic: levels differ in it where they do not in
    // their name.
    const char* sums_by;
    // Rounds n inputs to bfloat16.
    void (*round)(const float* x, int64_t n, uint16_t* to);
    // LinearFormat::Run.
    void (*run)(const LinearTask& task, int64_t group_begin, int64_t group_end);
    // Rows of a tile of inputs.
    int64_t tile_rows;
  };
  explicit Bf16Format(const Kernels& kernels) : kernels_(kernels), codes_(Int8Format::Kernels{}) {}

  int group_rows() const override;
  size_t GroupBytes(DType dtype, int64_t in_features) const override;
  void Pack(const PackedMatrix& matrix, absl::Span<const std::byte* const> rows,
            int64_t group_begin, int64_t group_end, std::byte* data) const override;
  void UnpackRow(const PackedMatrix& matrix, int64_t row, float* out) const override;

  size_t PreparedBytes(int64_t rows, int64_t in_features) const override;
  int64_t PrepareParts(int64_t rows) const override;
  void Prepare(const LinearTask& task, int64_t begin, int64_t end, std::byte* to) const override;
  void Run(const LinearTask& task, int64_t group_begin, int64_t group_end) const override {
    kernels_.run(task, group_begin, group_end);
  }

 private:
  const Kernels kernels_;
  const Int8Format codes_;  // Packs and unpacks quantized types, and does not multiply.
};

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_BF16_FORMAT_H_
