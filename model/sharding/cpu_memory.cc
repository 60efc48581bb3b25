#include "model/sharding/cpu_memory.h"

#include <algorithm>
#include <vector>

#include "absl/types/span.h"
#include "model/files/tensor.h"

namespace phalanx {
namespace {

// Outputs that are packed together; the last group of them is filled up. See
// kernels/cpu/float_format.h and int8_layout.h.
constexpr int64_t kFloatGroupRows = 8;
constexpr int64_t kInt8GroupRows = 16;
// kernels/cpu/packed_linear.cc lets the parts of one type begin on a cache line.
constexpr int64_t kAlignment = 64;
// kernels/cpu/kv_arena.h fills up values to whole vectors.
constexpr int64_t kVectorNumbers = 8;

constexpr int64_t RoundUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

// The bytes of one block of one output: those of the file, but for scales of sub-blocks, which are
// whole bytes.
int64_t PackedBlockBytes(TensorType type) {
  switch (type) {
    case TensorType::kF32:
      return 4;
    case TensorType::kF16:
    case TensorType::kBF16:
      return 2;
    case TensorType::kQ4_0:
    case TensorType::kIQ4_NL:
      return 18;
    case TensorType::kQ4_1:
      return 20;
    case TensorType::kQ5_0:
      return 22;
    case TensorType::kQ5_1:
      return 24;
    case TensorType::kQ8_0:
      return 34;
    case TensorType::kQ2_K:
      return 84;
    case TensorType::kQ3_K:
      return 114;
    case TensorType::kQ4_K:
      return 148;
    case TensorType::kQ5_K:
      return 180;
    case TensorType::kQ6_K:
      return 210;
  }
  return 0;
}

// Of so many outputs.
int64_t PackedBytes(TensorType type, int64_t rows, int64_t cols) {
  const int64_t row_bytes = cols / TensorBlockElements(type) * PackedBlockBytes(type);
  if (TensorBlockElements(type) == 1) return RoundUp(rows, kFloatGroupRows) * row_bytes;
  // Each group begins on a cache line.
  return RoundUp(rows, kInt8GroupRows) / kInt8GroupRows *
         RoundUp(kInt8GroupRows * row_bytes, kAlignment);
}

int64_t MatrixBytes(absl::Span<const TensorPart> parts) {
  int64_t bytes = 0;
  for (size_t first = 0; first < parts.size();) {
    const TensorPart& part = parts[first];
    // Parts of one type that follow each other are packed as one matrix.
    int64_t rows = 0;
    for (; first < parts.size() && parts[first].kept_type == part.kept_type; ++first) {
      rows += parts[first].num_rows;
    }
    bytes += RoundUp(PackedBytes(part.kept_type, rows, part.cols.size()), kAlignment);
  }
  return bytes;
}

int64_t MatrixBytes(const TensorPart& part) {
  return part.tensor == nullptr ? 0 : MatrixBytes(absl::MakeConstSpan(&part, 1));
}

int64_t VectorBytes(const TensorPart& part) {
  return part.cols.size() * static_cast<int64_t>(sizeof(float));
}

}  // namespace

int64_t CpuWeightBytes(const WeightPlan& plan) {
  int64_t bytes =
      MatrixBytes(plan.embedding) + VectorBytes(plan.final_norm) + MatrixBytes(plan.output);
  for (const LayerPlan& layer : plan.layers) {
    bytes += VectorBytes(layer.attention_norm) + MatrixBytes(layer.qkv) +
             MatrixBytes(layer.attention_out) + VectorBytes(layer.ffn_norm) +
             MatrixBytes(layer.gate) + MatrixBytes(layer.up) + MatrixBytes(layer.down);
    for (const TensorPart& bias : layer.qkv_bias) bytes += VectorBytes(bias);
  }
  return bytes;
}

int64_t CpuKvBytesPerToken(const ModelSpec& spec, int kv_heads, KvType type) {
  const int64_t numbers = spec.head_dim + RoundUp(spec.head_dim, kVectorNumbers);
  const int64_t of_head = numbers * KvNumberBytes(type) + 2 * KvScaleBytes(type);
  return of_head * spec.num_layers * kv_heads;
}

int LongestContextTokens(const ModelSpec& spec, int kv_heads, KvType type, int64_t bytes) {
  const int64_t block_bytes = kCpuKvBlockTokens * CpuKvBytesPerToken(spec, kv_heads, type);
  const int64_t tokens = std::max<int64_t>(bytes, 0) / block_bytes * kCpuKvBlockTokens;
  return static_cast<int>(std::min<int64_t>(tokens, spec.context_tokens));
}

}  // namespace phalanx
