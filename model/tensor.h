// A tensor as it lies in a model file.
#ifndef PHALANX_MODEL_TENSOR_H_
#define PHALANX_MODEL_TENSOR_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/types/span.h"

namespace phalanx {

// With ggml's numbers. A file may hold others, which are kept as their number.
enum class TensorType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ4_NL = 20,
  kBF16 = 30,
};

// "Q4_1", or "type 42" for a number without a name.
std::string TensorTypeName(TensorType type);

struct TensorView {
  std::string name;
  TensorType type = TensorType::kF32;
  // As the rest of the code base counts: rows are outputs, cols (the fastest dimension) inputs.
  // A vector has one row.
  int64_t rows = 0;
  int64_t cols = 0;
  // Points into the mapping of the file; not aligned.
  absl::Span<const std::byte> data;
};

}  // namespace phalanx

#endif  // PHALANX_MODEL_TENSOR_H_
