// How the CPU backend keeps the weights of a matrix and multiplies with them. A format is a layout,
// the arithmetic that suits it, and the kernels of one level of instructions that do it.
#ifndef PHALANX_KERNELS_CPU_LINEAR_FORMAT_H_
#define PHALANX_KERNELS_CPU_LINEAR_FORMAT_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "kernels/dtype.h"

namespace phalanx::kernels {

class LinearFormat;

// A packed matrix; does not own its data. Outputs lie in groups, which follow each other; the last
// group is filled up with zeros.
struct PackedMatrix {
  const LinearFormat* format = nullptr;
  const std::byte* data = nullptr;  // Aligned to 64 bytes.
  DType dtype = DType::kF32;        // Of the file that it came from.
  int64_t in_features = 0;
  int64_t out_features = 0;

  int64_t groups() const;
  size_t bytes() const;
};

// A product of all rows with the weights; formats are told which outputs to compute.
struct LinearTask {
  const PackedMatrix* weights = nullptr;
  const float* x = nullptr;  // [rows, in_features]
  int64_t rows = 0;
  const std::byte* prepared = nullptr;  // What LinearFormat::Prepare made of x.
  const float* bias = nullptr;          // [out_features], or null.
  float* out = nullptr;                 // [rows, out_features]
  int64_t out_stride = 0;               // Floats from a row of `out` to the next.
};

// Has no state that changes, so any thread may call it.
class LinearFormat {
 public:
  virtual ~LinearFormat() = default;

  // Outputs in a group.
  virtual int group_rows() const = 0;
  // Of one group of a matrix; a multiple of 4, and of 64 unless weights are floats.
  virtual size_t GroupBytes(DType dtype, int64_t in_features) const = 0;

  // Packs the groups [group_begin, group_end) of `matrix` to `data`, where matrix.data will point.
  // `rows` are all outputs, as in LinearSource. `data` is zero before.
  virtual void Pack(const PackedMatrix& matrix, absl::Span<const std::byte* const> rows,
                    int64_t group_begin, int64_t group_end, std::byte* data) const = 0;
  // Writes the in_features weights of one output, in order, with the bits that Dequantize gives
  // unless a format says otherwise.
  virtual void UnpackRow(const PackedMatrix& matrix, int64_t row, float* out) const = 0;

  // Some formats multiply with inputs that are brought into another form first, for all outputs.
  // Bytes that this form takes; 0 if x is taken as it is.
  virtual size_t PreparedBytes(int64_t rows, int64_t in_features) const = 0;
  // How many parts the rows can be prepared in, by different threads.
  virtual int64_t PrepareParts(int64_t rows) const = 0;
  // Writes the parts [begin, end) to `to`, where task.prepared will point; aligned to 64 bytes.
  virtual void Prepare(const LinearTask& task, int64_t begin, int64_t end, std::byte* to) const = 0;

  // Computes the outputs of the groups [group_begin, group_end) for all rows. The bits of an output
  // depend on its weights and its row of x alone.
  virtual void Run(const LinearTask& task, int64_t group_begin, int64_t group_end) const = 0;
};

inline int64_t PackedMatrix::groups() const {
  return (out_features + format->group_rows() - 1) / format->group_rows();
}
inline size_t PackedMatrix::bytes() const {
  return static_cast<size_t>(groups()) * format->GroupBytes(dtype, in_features);
}

}  // namespace phalanx::kernels

#endif  // PHALANX_KERNELS_CPU_LINEAR_FORMAT_H_
