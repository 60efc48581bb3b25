// A tensor as it is stored in a model file.
#ifndef PHALANX_MODEL_FILES_TENSOR_H_
#define PHALANX_MODEL_FILES_TENSOR_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/types/span.h"

namespace phalanx {

// The bound of every dimension and of every number of tokens: far above those of all known models,
// and low enough that products of two of them fit into int64.
inline constexpr int kMaxModelDimension = 1 << 24;

// The numbers are ggml's. A file may hold other types, which are kept as their number.
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

// All types that have a name, in the order in which people expect them.
inline constexpr TensorType kTensorTypes[] = {
    TensorType::kF32,  TensorType::kF16,  TensorType::kBF16, TensorType::kQ4_0,   TensorType::kQ4_1,
    TensorType::kQ5_0, TensorType::kQ5_1, TensorType::kQ8_0, TensorType::kQ2_K,   TensorType::kQ3_K,
    TensorType::kQ4_K, TensorType::kQ5_K, TensorType::kQ6_K, TensorType::kIQ4_NL,
};

// "Q4_1", or "type 42" for a number without a name.
std::string TensorTypeName(TensorType type);

// How many elements of a row are stored together, and can only be read together: 1, 32 or 256; 0
// for a number without a name.
int TensorBlockElements(TensorType type);

struct TensorView {
  std::string name;
  TensorType type = TensorType::kF32;
  // Rows are outputs and columns, the fastest dimension, are inputs, as everywhere in this program.
  // A vector has one row.
  int64_t rows = 0;
  int64_t cols = 0;
  // Points into the mapping of the file. Not aligned.
  absl::Span<const std::byte> data;
};

}  // namespace phalanx

#endif  // PHALANX_MODEL_FILES_TENSOR_H_
