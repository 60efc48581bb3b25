// The format for products of 8-bit integers; int8_layout.h has its arithmetic and its layout.
#ifndef PHALANX_KERNELS_CPU_INT8_FORMAT_H_
#define PHALANX_KERNELS_CPU_INT8_FORMAT_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "kernels/cpu/int8_layout.h"
#include "kernels/cpu/linear_format.h"

namespace phalanx::kernels {

// For quantized types only.
class Int8Format final : public LinearFormat {
 public:
  // The kernels of some instructions.
  struct Kernels {
    // Quantizes 1 to kMostBlocks blocks of inputs. Those of block i go to levels + i * stride.
    void (*quantize)(const float* x, int blocks, int8_t* levels, int64_t stride,
                     int8::QuantizedBlocks& to);
    // LinearFormat::Run.
    void (*run)(const LinearTask& task, int64_t group_begin, int64_t group_end);
    // Rows of a tile of inputs, for all that it runs on.
    int64_t tile_rows = int8::kTileRows;
  };
  explicit Int8Format(const Kernels& kernels) : kernels_(kernels) {}

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
};

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_INT8_FORMAT_H_
